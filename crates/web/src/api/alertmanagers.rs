//! `/alertmanagers`: where alerts go.

use crate::respond::{Answer, ApiResult};
use crate::state::{Alertmanagers, State};

/// `/alertmanagers`.
pub(super) fn alertmanagers(state: &State) -> ApiResult {
    let Alertmanagers { active, dropped } = (state.parts.alertmanagers)();
    let mut answer = Answer::new();
    for (before, urls) in [("{\"activeAlertmanagers\":[", active), ("],\"droppedAlertmanagers\":[", dropped)]
    {
        answer.json.raw(before);
        for (n, url) in urls.iter().enumerate() {
            answer.json.raw(if n > 0 { ",{\"url\":" } else { "{\"url\":" }).string(url).raw("}");
        }
    }
    answer.json.raw("]}");
    Ok(answer.done())
}
