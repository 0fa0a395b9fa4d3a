//! The clock, set by hand.

use ipc::{CallContext, Status};
use schema::v1alpha1::{SetTimeRequest, SetTimeResponse};

use super::Net;
use crate::system::System;
use crate::{events, manual};

impl<S: System> Net<S> {
    /// Sets the clock and then the hardware clock. All timers are monotonic, so nothing else has to follow.
    ///
    /// # Errors
    /// As [`manual::wanted`]; `FAILED_PRECONDITION` while there are time servers to be asked; `INTERNAL` where the kernel refuses. The clock is as it was then.
    pub(super) fn set_time(
        &mut self,
        request: &SetTimeRequest,
        context: &CallContext,
    ) -> Result<SetTimeResponse, Status> {
        let to = manual::wanted(request.time.as_ref(), self.config.time.floor)?;
        if self.sync.has_servers() {
            return Err(manual::from_servers());
        }
        let from = self.system.wall();
        let step_us = manual::step_us(from, to);
        self.system.set_wall(to).map_err(|error| {
            tracing::warn!(%error, "cannot set clock");
            Status::internal(format!("the kernel does not set the clock: {error}"))
        })?;
        // What a time server said before says nothing of this time.
        self.sync.forget();
        let mut text = manual::told(from, to, step_us);
        let rtc = self.write_rtc();
        if let Err(error) = &rtc {
            text =
                format!("{text}; the hardware clock does not take it, so it is lost with the power: {error}");
        }
        let by = (context.username(), context.request_id.as_str());
        tracing::info!(by = by.0, step_us, "clock set by hand");
        self.outbox.event(events::event(self.system.wall(), "time", "set", text, rtc.is_err(), by));
        self.refresh();
        Ok(SetTimeResponse { step_us })
    }
}
