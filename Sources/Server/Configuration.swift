import Engine
import Sharding
import WAL

/// The text that the classic routes answer with.
public enum DialectName: String, Sendable, CaseIterable {
  case classic
  case compact
  case plain
}

/// What becomes of a request that another node is to answer.
public enum RoutingMode: String, Sendable, CaseIterable {
  /// It is handed on.
  case proxy
  /// The client is told where to go.
  case redirect
}

/// Which nodes of another shard answer reads.
public enum ReadSource: String, Sendable, CaseIterable {
  case leader
  /// In turn; its leader where there is none.
  case replicas
  /// All in turn.
  case any
}

/// What a read of a key says that has several values at the same time.
public enum ConflictPolicy: String, Sendable, CaseIterable {
  /// All of them.
  case siblings
  /// The one that was written last, by the clocks of those who wrote.
  case lww
}

/// Everything that one node is told at its start.
public struct Configuration: Sendable {
  public var dataDirectory: String
  public var host: String
  public var port: Int
  public var syncPolicy = SyncPolicy.always
  public var segmentBytes = Format.segmentBytesDefault
  /// A snapshot is due when the log behind the last one outgrows this, and that snapshot.
  public var snapshotLogBytes: UInt64 = 256 << 20
  /// Read and written for one, at most; nil for no limit.
  public var snapshotBytesPerSecond: Int? = 32 << 20
  /// Log that is kept for copies that are being made and for followers, and for nothing else, is
  /// bounded by this.
  public var retainBytes: UInt64 = 1 << 30
  public var dialect = DialectName.classic
  /// False: every connection is the standard pipeline's from the start.
  public var usesFastLane = true
  /// Event loops; nil for as many as there are cores, less one for the committer.
  public var threads: Int?
  /// Puts are refused when keys and values take that much; nil for no bound.
  public var memoryBytesMax: Int?
  /// Names the node in epochs; its address when nil.
  public var nodeID: String?
  /// Members that have to have a write before it counts as confirmed: the `w` of a request without.
  public var writeQuorum = 1
  /// Members that are asked for a read: the `r` of a request without.
  public var readQuorum = 1
  /// Reads also show what is not confirmed yet, which a failover may take back.
  public var showsUnconfirmed = false
  /// For tests: what passes between this node and others, over connections that this one has made, takes
  /// so long on its way, as over a network with that latency.
  public var peerDelayMilliseconds = 0
  public var limits = Limits()
  public var shardName = "default"
  public var shardIndex: UInt32 = 0
  public var shardCount: UInt32 = 1
  /// What says which shard a key belongs to.
  public var hash = ShardHash.fnv1
  /// All shards; nil for a node alone.
  public var map: ShardMap?
  public var routing = RoutingMode.proxy
  public var readFrom = ReadSource.leader
  /// The shard's configured nodes, its leader first; a replica that the configuration does not list is
  /// none of them. Empty for a node alone.
  public var members: [Member] = []
  public var role = Role.leader
  /// Every member takes writes; then nobody leads, and `role` means nothing.
  public var isLeaderless = false
  public var conflicts = ConflictPolicy.siblings
  /// A replica that is further behind is not ready; nil for no bound.
  public var lagSecondsMax: Int?
  /// Where the shard's configured leader takes requests; nil when that is this node.
  public var leaderAddress: String?
  /// Whose log a replica follows, where that is not its leader's: another replica's.
  public var followedAddress: String?
  /// What this node, where it leads, tells the others of the shard; nil where a file tells each.
  public var announcement: Membership?
  /// Called with another announcement than that: the node is to be started anew with it. Nil where no
  /// leader has to tell it anything.
  public var onAnnouncement: (@Sendable (Announcement) -> Void)?
  /// The cluster's configuration, which another one may take the place of while the node runs. Nil
  /// where none can.
  public var keeper: ConfigurationKeeper?
  /// A configuration that was taken does not name this node any more, which it did before.
  public var wasRemoved = false
  /// What people call the node, where the others know it by its address.
  public var name: String?

  public init(dataDirectory: String, host: String, port: Int) {
    self.dataDirectory = dataDirectory
    self.host = host
    self.port = port
  }

  /// What the node calls itself.
  public var id: String { nodeID ?? address }

  /// The shard's configured nodes but this one.
  var otherMembers: [Member] { members.filter { $0.id != id } }

  public var address: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// The version of the program.
public let shiplogVersion = "0.1.0"
