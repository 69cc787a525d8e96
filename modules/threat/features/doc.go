// Package features says in integers what a transaction is: what its messages touch (Describe), who sends it, how that
// compares with what its author did before (History), and what the streaming scorers know (Senses). Fill writes the
// row that the trees and the rules of a detector read, Event the categories that profiles and half-space trees read.
//
// Table is the row: its order is that of the constants, and names in it are permanent. A detector binds to names, so a
// new feature at the end changes nothing for detectors that do not know it.
//
// Everything follows from its arguments. Nothing here allocates but Describe. Values saturate; what is not known is
// trees.Missing.
package features
