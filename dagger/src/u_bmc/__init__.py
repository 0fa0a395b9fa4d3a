"""The pipeline of u-bmc: each step is one `cargo xtask` call in a pinned container."""

from .main import UBmc as UBmc
