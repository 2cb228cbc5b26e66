//! The autoscaling group: HorizontalPodAutoscalers.

pub mod horizontal;
