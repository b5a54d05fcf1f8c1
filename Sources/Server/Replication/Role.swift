/// What a node of a shard begins as. A promotion moves on from it.
public enum Role: Sendable {
  /// Takes writes.
  case leader
  /// Follows the leader's log.
  case replica
}
