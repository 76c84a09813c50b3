//! A progress bar on standard error, where that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bar of the phase that runs.
pub struct Bar(ProgressBar);

impl Bar {
    /// Nothing runs yet. Without a terminal nothing is drawn.
    pub fn new() -> Bar {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{msg:24} {bar:40} {human_pos}/{human_len} {elapsed}");
        Bar(bar.with_style(style.expect("the template is a sound one")))
    }

    /// A phase begins, which is over at `total`.
    pub fn begin(&self, name: &str, total: u64) {
        self.0.reset();
        self.0.set_length(total);
        self.0.set_message(name.to_owned());
        self.0.enable_steady_tick(Duration::from_millis(200));
    }

    /// So far.
    pub fn at(&self, position: u64) {
        self.0.set_position(position);
    }

    /// Takes the bar away: what follows is the report.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}
