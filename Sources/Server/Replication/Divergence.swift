import Engine
import Logging
import WAL

/// That this node's history is not its leader's, which is of a higher epoch; and what is done about it,
/// once the store is closed.
struct Divergence: Sendable {
  let reason: String
  /// The log's id.
  let origin: UInt64
  /// Where the histories parted; nil where nothing says it.
  let fork: HistoryFork?

  /// - Parameter leader: the epochs of the leader's history.
  init(_ reason: String, _ store: Store, leader: [EpochHistory.Start]) {
    self.reason = reason
    origin = store.origin
    fork = HistoryFork.find(
      own: store.epochs.all, through: store.feed.end.sequence, leader: leader)
  }

  /// Takes the log back to the fork; or, where that cannot be, puts all of it away. Nothing is removed.
  ///
  /// - Throws: `diskFull`, to be tried again: the next opening of the store finishes what was begun.
  func settle(in dataDirectory: String, _ logger: Logger) throws(WALError) {
    var tail: LostTail?
    var obstacle = "the histories have no epoch in common that says where"
    if let fork {
      switch try HistoryRewind(dataDirectory).run(to: fork, origin: origin) {
      case .rewound(let tail):
        return logger.error(
          """
          \(reason). The log was taken back to \(tail.fork.sequence); what was behind it, \(tail.writes) \
          writes up to \(tail.lastSequence), is in \(dataDirectory)/diverged/\(tail.name): kv diverged \
          lists it
          """)
      case .impossible(let why, let behind): (obstacle, tail) = (why, behind)
      }
    }
    let place = try CopyDirectory(dataDirectory).putAway(tail)
    logger.error(
      "\(reason). It cannot be taken back to where they part: \(obstacle). What was here is in \(place); the copy begins anew"
    )
  }
}
