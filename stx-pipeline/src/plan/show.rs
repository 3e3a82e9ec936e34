//! The display of plans.

use std::fmt;

use chrono::SubsecRound as _;
use stx_layout::{counted, redact_urls};

use super::{BuildPlan, PhasePlan};
use crate::Env;
use crate::recipe::On;

impl fmt::Display for BuildPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "build {} of branch {}, recipe {}",
            self.id, self.branch, self.recipe
        )?;
        writeln!(
            f,
            "  started {}",
            self.id
                .date
                .time()
                .trunc_subsecs(0)
                .format("%Y-%m-%d %H:%M:%S UTC")
        )?;
        if let Some(trigger) = &self.trigger {
            writeln!(f, "  trigger {}", redact_urls(trigger))?;
        }
        if let Some(below) = &self.after {
            writeln!(f, "  after {}", below.after.build)?;
        }
        if let Some(timeout) = self.timeout {
            writeln!(f, "  timeout {}", humantime::format_duration(timeout))?;
        }
        writeln!(f, "  up to {} side by side", counted(self.jobs, "phase"))?;
        writeln!(
            f,
            "  sources {} in {}",
            self.repositories.join(" "),
            self.source_root
        )?;
        for dir in &self.state_dirs {
            writeln!(f, "  keeps {dir}")?;
        }
        for command in &self.clean {
            writeln!(f, "  cleans by {command}")?;
        }
        writeln!(f, "\nevery phase has")?;
        for (name, value) in &self.env {
            writeln!(f, "  {name}={}", shell_words::quote(&redact_urls(value)))?;
        }
        for (index, phase) in self.phases.iter().enumerate() {
            writeln!(f)?;
            phase.write(f, index + 1, &self.env)?;
        }
        if !self.omitted.is_empty() {
            writeln!(f, "\nleft out by `if`: {}", self.omitted.join(", "))?;
        }
        Ok(())
    }
}

impl PhasePlan {
    fn write(&self, f: &mut fmt::Formatter<'_>, number: usize, common: &Env) -> fmt::Result {
        write!(f, "{number}. {}", self.name)?;
        if self.source {
            f.write_str(" (source phase)")?;
        }
        if !self.required {
            f.write_str(" (optional)")?;
        }
        if self.always {
            f.write_str(" (always)")?;
        }
        if !self.needs.is_empty() {
            write!(f, " after {}", self.needs.join(", "))?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "   in {}",
            shell_words::quote(self.invocation.dir.as_str())
        )?;
        for (name, value) in &self.invocation.env {
            if &**name != "PHASE" && common.get(name) != Some(value) {
                writeln!(f, "   {name}={}", shell_words::quote(&redact_urls(value)))?;
            }
        }
        writeln!(
            f,
            "   $ {}",
            self.invocation
                .to_string()
                .trim_end()
                .replace('\n', "\n     ")
        )?;
        if let Some(timeout) = self.invocation.timeout {
            writeln!(f, "   timeout {}", humantime::format_duration(timeout))?;
        }
        if let Some(grace) = self.invocation.stop_grace {
            writeln!(f, "   stop grace {}", humantime::format_duration(grace))?;
        }
        if self.retries > 0 {
            write!(f, "   up to {} attempts", self.retries + 1)?;
            if let Some(backoff) = self.backoff {
                write!(
                    f,
                    ", the second after {}, then twice as long each",
                    humantime::format_duration(backoff)
                )?;
            }
            writeln!(f)?;
        }
        for rule in &self.publish {
            write!(f, "   publishes {} to {}", rule.from, rule.to)?;
            if rule.flat {
                f.write_str(" without directories")?;
            }
            if let Some(list) = &rule.list {
                write!(f, " as {list} lists them")?;
            }
            if rule.on == On::Failure {
                f.write_str(" if it fails")?;
            }
            if !rule.except.is_empty() {
                write!(f, " except {}", rule.except.join(" "))?;
            }
            if rule.min > 0 {
                write!(f, ", at least {}", rule.min)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
