// Package midas finds bursts of edges in a stream: an actor that uses a resource, or is active, or a resource that is
// used, far more often in the present tick than before. It is MIDAS and MIDAS-R of S. Bhatia, B. Hooi, M. Yoon,
// K. Shin, C. Faloutsos, "MIDAS: Microcluster-Based Detector of Anomalies in Edge Streams", AAAI 2020, in integers.
//
// Counts are in count-min sketches. A cell's Past is how often one of its edges came since the first tick, its Now is
// the count of the present tick in Q16, and its Epoch the tick in which the cell was last moved. The paper resets or
// decays all current counts when a tick ends; here a cell catches up when it is next read, by the power of the decay
// for the ticks that have passed, so that a tick costs nothing and an event touches its own cells alone: Rows of each
// of the tables edge, actor and resource (edge alone for MIDAS).
//
// Reading is apart from writing. Score says what an event would look like and writes nothing; Absorb counts it. An
// event that is held is scored and never absorbed.
//
// The hash functions are fixed by the seed, which is known. Who can choose names freely can search for names whose
// cells collide with those of a busy edge in every row, at a cost that grows as Columns to the power of Rows, and hide
// behind its past. So names are hashes of what governance registers, and MIDAS is one part of several.
package midas
