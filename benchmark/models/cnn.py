"""The paper's convolutional network and a smaller one for CPUs."""

from collections.abc import Sequence

from torch import Tensor, nn


def keras_init_(module: nn.Module) -> None:
    """Keras' defaults: Glorot-uniform weights, zero biases (the paper's code trains in Keras).

    Glorot and Bengio 2010: weights uniform in ±sqrt(6 / (fan_in + fan_out)).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class PaperCNN(nn.Module):
    """The network of Sun et al. 2019: 1,199,882 parameters for 10 classes.

    Two valid 3 × 3 convolutions (32, 64 filters) with ReLU, 2 × 2 max-pooling, dropout 0.25,
    a dense layer of 128 with ReLU, dropout 0.5, a dense layer of ``num_classes``.

    Args:
        num_classes: number of classes.
        image: channels, height and width of an image, 6 x 6 or more.
        dropout: whether the two dropout layers are active in training.

    Shape:
        images ``(b, C, H, W)`` → logits ``(b, num_classes)``.

    Raises:
        ValueError: the images are too small.
    """

    def __init__(
        self, num_classes: int = 10, image: Sequence[int] = (1, 28, 28), dropout: bool = True
    ):
        super().__init__()
        channels, rows, columns = image[0], *((side - 4) // 2 for side in image[1:])
        _check_size(image, rows, columns)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 32, 3),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.25 if dropout else 0.0),
            nn.Flatten(),
            nn.Linear(64 * rows * columns, 128),
            nn.ReLU(),
            nn.Dropout(0.5 if dropout else 0.0),
            nn.Linear(128, num_classes),
        )
        keras_init_(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch of images."""
        return self.layers(images)


class SmallCNN(nn.Module):
    """A network of 56,970 parameters (10 classes), about 50 times cheaper than the paper's.

    A 5 × 5 convolution (16 filters) and a 3 × 3 convolution (32 filters), both valid, with
    stride 2 and ReLU, a dense layer of 64 with ReLU, a dense layer of ``num_classes``; no
    pooling, no dropout: on a CPU, pooling would cost more than the first convolution.

    Args:
        num_classes: number of classes.
        image: channels, height and width of an image, 9 x 9 or more.

    Shape:
        images ``(b, C, H, W)`` → logits ``(b, num_classes)``.

    Raises:
        ValueError: the images are too small.
    """

    def __init__(self, num_classes: int = 10, image: Sequence[int] = (1, 28, 28)):
        super().__init__()
        channels, rows, columns = image[0], *(((s - 5) // 2 - 2) // 2 + 1 for s in image[1:])
        _check_size(image, rows, columns)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 16, 5, stride=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * rows * columns, 64),
            nn.ReLU(),
            nn.Linear(64, num_classes),
        )
        keras_init_(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch of images."""
        return self.layers(images)


def _check_size(image: Sequence[int], rows: int, columns: int) -> None:
    if min(rows, columns) < 1:
        raise ValueError(f"images of {image[1]} x {image[2]} are too small for its convolutions")
