//! What a test is given by those who run it.

/// What an environment variable names. Where it is not set the skip is printed, by which it is counted: `missing` says what is not there, and how one gets it.
#[must_use]
#[expect(clippy::print_stdout, reason = "a skip is counted by what is printed")]
pub fn given(variable: &str, missing: &str) -> Option<String> {
    let named = std::env::var(variable).ok();
    if named.is_none() {
        println!("SKIP: {missing}");
    }
    named
}
