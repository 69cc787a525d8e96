// Package blend makes one score of several, from 0 to 10000, and tells which parts and features drove it.
//
// Each part has a calibration: corners (knots) of a line that never falls, from what the part says, in its own unit, to
// points from 0 to 10000. The score is
//
//	max( lift, ((10000-peak)*mean + peak*largest) / 10000 )
//
// where mean is the weighted mean of the points of the parts that are present, largest the largest points among those,
// and lift the largest points of a part that lifts (rules do). So no part can lower the score by rising, and with peak
// the score follows a single loud part as far as governance wants it to. Calibrations and weights are made off the
// chain, from labelled or unlabelled history; here they are numbers.
package blend
