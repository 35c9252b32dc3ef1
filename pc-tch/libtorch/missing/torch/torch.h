// Found only where the folder that LIBTORCH names has no header of this name: `.cargo/config.toml` has compilers look here last. A compiler stops at a
// file that it cannot find, and says its name.
#include "there is no libtorch where LIBTORCH points: `cargo xtask libtorch` sets one up in .cache/libtorch"
