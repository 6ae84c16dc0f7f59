//! Which program this is.

/// The version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from, shortened; `unknown` outside a repository.
pub const REVISION: &str = env!("BUILD_REVISION");

/// The version of the compiler.
pub const RUSTC: &str = env!("BUILD_RUSTC");
