//! What waits for one Alertmanager: bounded, the oldest give way.

use std::collections::VecDeque;
use std::sync::Arc;

use model::Alert;

/// Alerts in the order they came. An alert is shared by all queues: 10,000 of a kibibyte (the default
/// capacity) are 10 MiB, however many Alertmanagers there are.
#[derive(Debug)]
pub(crate) struct Queue {
    alerts: VecDeque<Arc<Alert>>,
    capacity: usize,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Self {
        Queue { alerts: VecDeque::new(), capacity, closed: false }
    }

    /// Adds them; the newest stay where there is no room for all. Gives the number of those that are lost, `None`
    /// where the queue takes nothing any more.
    pub(crate) fn add(&mut self, new: &[Arc<Alert>]) -> Option<usize> {
        if self.closed {
            return None;
        }
        let too_many = new.len().saturating_sub(self.capacity);
        let new = new.get(too_many..).unwrap_or_default();
        let oldest = (self.alerts.len() + new.len()).saturating_sub(self.capacity);
        self.alerts.drain(..oldest);
        self.alerts.extend(new.iter().cloned());
        Some(too_many + oldest)
    }

    /// The oldest, at most `max`.
    pub(crate) fn take(&mut self, max: usize) -> Vec<Arc<Alert>> {
        let n = self.alerts.len().min(max);
        self.alerts.drain(..n).collect()
    }

    /// Takes nothing from now on.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    pub(crate) fn len(&self) -> usize {
        self.alerts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Labels;

    fn alerts(names: std::ops::Range<i64>) -> Vec<Arc<Alert>> {
        let alert = |n| Alert {
            labels: Labels::empty(),
            annotations: Vec::new(),
            starts_at_ms: n,
            ends_at_ms: 0,
            generator_url: String::new(),
        };
        names.map(|n| Arc::new(alert(n))).collect()
    }

    #[test]
    fn the_oldest_give_way() {
        let mut queue = Queue::new(5);
        assert_eq!(queue.add(&alerts(0..3)), Some(0));
        assert_eq!(queue.add(&alerts(3..7)), Some(2));
        let names = |batch: Vec<Arc<Alert>>| batch.iter().map(|a| a.starts_at_ms).collect::<Vec<_>>();
        assert_eq!(names(queue.take(2)), [2, 3]);
        assert_eq!(queue.add(&alerts(10..20)), Some(8));
        assert_eq!((queue.len(), names(queue.take(9))), (5, vec![15, 16, 17, 18, 19]));
        assert!(queue.take(9).is_empty());
        queue.close();
        assert_eq!(queue.add(&alerts(0..1)), None);
        assert_eq!(Queue::new(0).add(&alerts(0..4)), Some(4));
    }
}
