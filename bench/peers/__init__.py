"""The same rounds in other simulators, through their public interfaces, interleaved with ours."""
