/// Which nodes of a shard are asked for reads.
public enum KVReadSource: String, Hashable, Sendable, CaseIterable {
  /// The one that takes its writes: a read sees every write that was acknowledged before it.
  case leader
  /// Those that follow it, one after the other: a read may be older. The leader where none can be reached.
  case replicas
  /// All of them, one after the other: a read may be older.
  case any
}
