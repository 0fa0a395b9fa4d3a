"""The steps of the pipeline, each one call of the same `cargo xtask` that a developer makes.

What a step does stands in xtask; here is only where it runs: in which container, with which caches, from which files.
"""

from typing import Annotated

import dagger
from dagger import DefaultPath, Doc, Ignore, dag, function, object_type

# The toolchain of the workspace (rust-version in Cargo.toml) on the distribution that CI runs on. What goes into an image is
# pinned below that: crates by Cargo.lock, Debian packages by version and hash in targets/packages.toml.
BASE = "docker.io/library/rust:1.95.0-bookworm"

# Where cargo builds and where packages are kept between runs.
TARGET = "/cache/target"

Source = Annotated[
    dagger.Directory,
    Doc("The repository"),
    DefaultPath("/"),
    Ignore(["target", ".cache", "web/node_modules"]),
]
Board = Annotated[str, Doc("The board, as its directory below targets/ is called")]


@object_type
class UBmc:
    """Build, test and image pipeline of u-bmc."""

    def _workspace(self, source: dagger.Directory) -> dagger.Container:
        return (
            dag.container()
            .from_(BASE)
            .with_mounted_cache("/usr/local/cargo/registry", dag.cache_volume("u-bmc-registry"))
            .with_mounted_cache(TARGET, dag.cache_volume("u-bmc-target"))
            .with_env_variable("CARGO_TARGET_DIR", TARGET)
            .with_env_variable("CI", "true")
            .with_directory("/src", source)
            .with_workdir("/src")
        )

    def _xtask(self, source: dagger.Directory, *args: str) -> dagger.Container:
        # Emulators and network namespaces of the tests need what an ordinary container step may not do.
        return self._workspace(source).with_exec(
            ["cargo", "xtask", *args], insecure_root_capabilities=True
        )

    @function
    async def quick(self, source: Source) -> str:
        """What the first minutes can tell: form, lints, tidy, unit tests."""
        return await self._xtask(source, "test", "--quick").stdout()

    @function
    async def test(
        self,
        source: Source,
        tier: Annotated[str, Doc("One tier; all of them when left out")] = "",
    ) -> str:
        """Every test, or one tier of them, as CI runs them."""
        return await self._xtask(source, "test", *([tier] if tier else [])).stdout()

    @function
    def image(
        self,
        source: Source,
        board: Board = "aspeed/ast2600-evb",
        debug: Annotated[bool, Doc("The flavour with a shell on the console")] = False,
        signing_key: Annotated[
            dagger.Secret | None, Doc("Ed25519 key of a release; the development key when left out")
        ] = None,
    ) -> dagger.Directory:
        """The flashable image of a board with its manifest, checksums, sizes and bill of materials."""
        workspace = self._workspace(source)
        command = ["cargo", "xtask", "image", board]
        if debug:
            command.append("--debug")
        if signing_key is not None:
            workspace = workspace.with_mounted_secret("/run/signing.key", signing_key)
            command += ["--key", "/run/signing.key"]
        name = f"{board}-debug" if debug else board
        return workspace.with_exec(command).directory(f"/src/target/image/{name}")

    @function
    async def reproducible(self, source: Source, board: Board = "aspeed/ast2600-evb") -> str:
        """Builds the image twice in different folders and fails where they differ."""
        return await self._xtask(source, "image", "--check-reproducible", board).stdout()

    @function
    async def bench(self, source: Source, what: str = "") -> str:
        """The benchmarks, side by side with their peers."""
        return await self._xtask(source, "bench", *([what] if what else [])).stdout()

    @function
    def sim(self, source: Source) -> dagger.Service:
        """The whole suite on the simulated board, as a service on port 8443."""
        return (
            self._workspace(source)
            .with_exposed_port(8443)
            .as_service(
                args=["cargo", "xtask", "sim", "--https", "0.0.0.0:8443", "--http", "off"]
            )
        )
