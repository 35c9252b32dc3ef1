//! Marked programs against Burn's own backward pass, against the laws of the schedules, and against the host backend.

mod care;
mod exact;
mod live;
mod measure;
mod models;
