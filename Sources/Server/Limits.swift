import Engine
import WAL

/// The bounds on what a node takes from the network.
public struct Limits: Sendable {
  public var keyBytesMax = Format.keyBytesMax
  public var valueBytesMax = Format.valueBytesMax
  /// A request's target: path and query.
  public var targetBytesMax = 48 << 10
  /// A request's line and headers.
  public var headBytesMax = 64 << 10
  public var headerFieldsMax = 256
  public var batchBytesMax = 4 << 20
  public var batchOperationsMax = 10_000
  /// Watchers of the log, all connections together.
  public var watchersMax = 1_024
  /// A watcher hears from the node that often, if only an empty line.
  public var watchIdleSeconds = 15
  /// A watcher that takes nothing.
  public var watchStallSeconds = 300
  /// Followers of the log as it is, all connections together.
  public var logStreamsMax = 256
  /// A follower hears from the node that often, if only that it is there.
  public var heartbeatMilliseconds = 500
  /// A follower that takes nothing, or whose host has vanished.
  public var logStreamStallSeconds = 30
  /// Snapshots that are being sent, all connections together.
  public var snapshotReadersMax = 32
  /// Reads of one event loop that ask other members how far they are.
  public var askingReadsMax = 1_024
  /// Requests of one event loop that wait for a snapshot to be made.
  public var snapshotWaitersMax = 256
  /// For so long a snapshot, and the log behind it, are kept for who has given a name with a request.
  public var snapshotLeaseSeconds = 120
  /// Of such a name.
  public var replicaNameBytesMax = 128
  public var connectionsMax = 20_000
  /// Connections that are answered at a time before the node has its data; others wait for that.
  public var startingConnectionsMax = 64
  /// A connection of those, until its request's head is there.
  public var startingSeconds = 2
  /// Bodies that are being received, all connections together.
  public var bodyBytesMax = 64 << 20
  /// Answers above `outputBytesMax` that are being sent, all connections together.
  public var answersBytesMax = 256 << 20
  /// Requests of one connection that wait for the committer.
  public var pendingWritesMax = 1_024
  /// The nodes of another shard, to say whether they lead it.
  public var leaderSearchMilliseconds: Int64 = 1_000
  /// A node of another shard that has not answered a request by then is asked whether it leads at all.
  public var silenceMilliseconds: Int64 = 1_000
  /// A connection to another node that has kept its first request waiting for that long gets no company
  /// where there is a choice.
  public var relayStallMilliseconds: Int64 = 20
  /// Requests with large bodies or answers that other nodes are answering, all connections together.
  public var streamedRelaysMax = 128
  /// Requests of one connection that other nodes are answering.
  public var relayedRequestsMax = 16
  /// Answers that one connection has not taken yet; above it nothing more is read from it.
  public var outputBytesMax = 256 << 10
  /// A connection on which nothing has begun.
  public var idleSeconds = 75
  /// A request that waits for other members, or for a version, and does not say for how long.
  public var waitMilliseconds: UInt64 = 5_000
  /// Another member's answer to how far it is.
  public var positionSeconds = 5
  /// From the first byte of a request to the end of its headers.
  public var headSeconds = 10
  /// For a body, on top of a second for every 64 KiB of it.
  public var bodySeconds = 30
  /// An answer of which the client takes nothing.
  public var answerSeconds = 30
  /// Reading on after an error, so that the answer arrives.
  public var lingerSeconds = 2
  /// What is in flight when the node is told to stop.
  public var drainSeconds = 10

  public init() {}
}
