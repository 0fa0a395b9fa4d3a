//! The board's watchdog: armed at the start, fed from then on.

use service::ErrorChain;

use crate::prepare::Prepared;

/// Arms the board's watchdog. Without one the controller runs on: its absence is told, not fatal.
pub(crate) fn open(prepared: &Prepared) -> Option<Box<dyn hal::Watchdog>> {
    let wanted =
        prepared.board.management_controller.watchdog.as_ref().filter(|_| prepared.config.watchdog)?;
    let opened = hal_linux::LinuxWatchdog::open(&wanted.device).and_then(|mut watchdog| {
        let timeout = hal::Watchdog::set_timeout(&mut watchdog, wanted.timeout)?;
        hal::Watchdog::pet(&mut watchdog)?;
        Ok((watchdog, timeout))
    });
    match opened {
        Ok((watchdog, timeout)) => {
            let info = hal::Watchdog::info(&watchdog);
            tracing::info!(
                device = %wanted.device.display(),
                identity = info.identity,
                timeout_s = timeout.as_secs(),
                caused_last_reset = info.caused_last_reset,
                "watchdog armed"
            );
            Some(Box::new(watchdog))
        }
        Err(error) => {
            tracing::error!(device = %wanted.device.display(), error = %ErrorChain(&error), "cannot open watchdog");
            None
        }
    }
}
