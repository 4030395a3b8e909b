"""The field's words that several reports share."""

USER_KINDS = {
    "style users": "Style users are not writers: the data names no writer, so images of similar "
    "handwriting (slant and amount of ink) were dealt to the same user.",
    "writers": "Each user is one person, who wrote all of its images.",
    "IID users": "IID users are not writers: images were dealt to them at random.",
    "Dirichlet users": "Dirichlet users are not writers: images were dealt to them at random, with "
    "shares of the classes that differ from user to user.",
}
"""What a data set's users are → what a reader must know of them."""

WINDOW = "Scores are means over the last fifth of the rounds."
IN_SAMPLE = (
    "In-sample backdoor accuracy: the share of the adversary's own backdoor images that the global "
    "model gives the adversary's label (the paper's number)."
)
HELD_OUT = (
    "Held-out backdoor accuracy: the same share over unseen images of the target users, which "
    "nobody trained on."
)
