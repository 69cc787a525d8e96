// Package halfspace finds events in thinly populated regions of feature space: half-space trees of S. C. Tan,
// K. M. Ting, T. F. Liu, "Fast Anomaly Detection for Streaming Data", IJCAI 2011, in integers.
//
// The trees are made from the settings alone, before any event is seen: each divides a working range around the stated
// range of every feature, at each node halving it along a feature that the seed picks. A node's mass is how many events
// of a window of Window events fell into it. Events are scored against the masses of the window before the present one
// and counted in the present one.
//
// The paper copies all masses when a window ends; here a cell catches up when it is next read. Cell.Now is the mass in
// window Cell.Epoch and Cell.Past the mass in the window before it; the clock cell counts absorbed events in Past,
// and the window's number is that count divided by Window. A score reads the clock and at most Depth cells of
// every tree; absorbing reads and writes the clock and Depth cells of every tree. The root has no cell: its mass is the
// window.
//
// Reading is apart from writing. Score writes nothing, and what is held is scored and never absorbed.
package halfspace
