//! Relabeling rules, applied to targets, samples, alerts and remote-written series alike.
