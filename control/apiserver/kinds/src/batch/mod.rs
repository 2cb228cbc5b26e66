//! The batch group: Jobs and CronJobs.

pub mod cron_job;
pub mod job;
mod job_indexes;
mod job_policy;
mod job_rules;
mod job_status;

#[cfg(test)]
mod tables;
