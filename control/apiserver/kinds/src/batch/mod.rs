//! The batch group: Jobs and CronJobs.

pub mod cron_job;
pub mod job;
mod job_rules;

#[cfg(test)]
mod tables;
