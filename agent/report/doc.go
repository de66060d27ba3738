// Package report publishes what the agent knows of its node's CPUs: the NodeCPU object that has the
// node's name.
//
// A report is built from the last good reading of each source over the report that is already there:
// what could not be read stays as it was, and the conditions say what that is and since when. So a read
// error never makes a report say less, not even over a restart of the agent, and the first thing the
// Publisher does is to read its last report back. Only the report of an earlier Node of that name is not
// built upon: the Node that came back may be another machine. Conditions:
//
//   - CPUManagerRunning: True (reason PolicyStatic) or False (PolicyNone) by the kubelet's own state file;
//     while that cannot be read it keeps its status, with reason StateUnreadable; Unknown where it never
//     was.
//   - Exact: True where the prediction in pkg/kubeletcpu holds for this node; otherwise its message lists
//     all that stands against it, and its reason is the first of these. Reason PredictableByFile marks a
//     prediction that rests on the kubelet's configuration file alone.
//   - SourcesComplete: True where every source is read; otherwise its message says of each that is missing
//     why, since when, and what is done without it.
//   - RestartSafe: False where the kubelet would not start again, or would fail pods that run, with the
//     configuration it will have then. An event tells when a change of the configuration does that.
//   - Labelled: what package label has to say.
//
// The API server hears from a Publisher only when the meaning of the report has changed: one write for
// each burst of changes (a kubelet writes its state twice for each admission), none while nothing
// happens. Every write raises status.generation by one. Writes carry the resource version that the report
// was built over, so that no change by somebody else in between is lost; what was changed by somebody else
// is then put right, since the report is the agent's alone: at once the first time, then ever more slowly, for
// it may be a second agent that thinks the same.
//
// One thing is not overwritten: a report with fields that this agent does not know. A newer agent wrote
// it, in a rollout or before a rollback, and an older one would take those fields away. The Publisher then
// writes nothing, says so on the Node (event ReportRefused), in the log and in the metric, and looks again
// until the fields are gone. To go back to an older agent for good, delete the NodeCPU object. A report of
// a newer format (status.format) whose fields are all known is taken over: nothing in it would be lost.
package report
