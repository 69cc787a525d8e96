package node

// OpenTree opens a tree for the benchmarks, which are outside the package.
var OpenTree = openTree
