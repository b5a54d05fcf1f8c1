// Addresses, entries, conditions, limits and errors are a client's as well as a node's, so they are in a
// module of their own; whoever imports this one has them, too.
@_exported import Client
