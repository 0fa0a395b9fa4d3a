//! What is shown on the terminal of a controller, and in no log.

/// Shows the certificate's fingerprint on the terminal: whoever logs in for the first time compares it with what the client shows.
pub(crate) fn certificate(fingerprint: &str) {
    let text = format!("\n  The certificate of the API has the fingerprint\n    {fingerprint}\n\n");
    let mut out = std::io::stdout().lock();
    // The log has it as well.
    let _ =
        std::io::Write::write_all(&mut out, text.as_bytes()).and_then(|()| std::io::Write::flush(&mut out));
}

/// Shows the first-boot credential on the terminal, once. It never goes into a log. A restart of usermgr makes and shows another one, until somebody
/// has logged in.
pub(crate) fn credential(text: &str) {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let banner = format!(
        "\n  ┌──────────────────────────────────────────────────────────────┐\n  \
           │ Nobody has logged in yet. Log in as                          │\n  \
           │   user      {user:<49}│\n  \
           │   password  {password:<49}│\n  \
           │ It replaces any shown before; change it at the first login.  │\n  \
           └──────────────────────────────────────────────────────────────┘\n\n"
    );
    let mut out = std::io::stdout().lock();
    let written =
        std::io::Write::write_all(&mut out, banner.as_bytes()).and_then(|()| std::io::Write::flush(&mut out));
    if written.is_err() {
        tracing::error!("cannot show first password: restart with a console or with --admin-password-file");
    }
}
