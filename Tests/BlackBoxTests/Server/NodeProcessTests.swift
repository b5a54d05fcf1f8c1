import Testing

/// What is tested on real processes of `kv serve`, one test at a time: they load the machine, and
/// some of them have to do with time.
@Suite("The process of a node", .serialized) enum NodeProcessTests {}
