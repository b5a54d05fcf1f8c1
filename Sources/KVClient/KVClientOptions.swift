import Client
import NIOCore

/// What a client does, and how long it tries.
public struct KVClientOptions: Sendable {
  /// When the configuration is read from a node.
  public enum ConfigurationUse: Hashable, Sendable {
    /// Before the first request: from then on each request goes to a node of its key's shard.
    case atFirstCall
    /// Not before the first seed has answered that another node is to be asked. For programs that make one
    /// request: nodes hand on what is another's, so mostly that is all it takes.
    case whenNeeded
  }

  public var readFrom = KVReadSource.leader
  /// For each call, with all its attempts. Above the 5 s that a node waits for other members.
  public var timeout = Duration.seconds(10)
  /// Whether what nobody has done is asked for again, at the same node too, until the time is over. False:
  /// requests are only sent again where an answer says which node is the right one.
  public var retries = true
  /// Whether a `put` without a condition, a `delete` or a `batch` is sent again when it is not known whether it
  /// was done. It may then be done twice, and undo what another client has written in between.
  public var repeatsWrites = false
  public var configuration = ConfigurationUse.atFirstCall
  /// Connections: how many, how long.
  public var limits = KVLimits(connectTimeout: .seconds(1))

  public init() {}
}
