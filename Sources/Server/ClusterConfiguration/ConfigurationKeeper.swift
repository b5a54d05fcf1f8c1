import Client
import Engine
import Logging
import NIOCore
import NIOPosix
import Sharding
import Synchronization
import WAL

/// The configuration of the cluster that a node goes by, and how another one takes its place. It outlives
/// the node's beginnings anew.
///
///     offered --not above, or not possible--> refused
///     offered --above--> in the file `config` --> known to the event loops
///             --this node's place is as it was--> done
///             --this node's place is another--> the node begins anew
public final class ConfigurationKeeper: Sendable {
  package enum Verdict: Hashable, Sendable {
    case taken
    /// It was there.
    case known
    case refused(String)
    case failed(WALError)
  }

  private struct State: Sendable {
    var current: ConfigurationVersion
    /// What the node was begun with.
    var running: Configuration.Place?
    var node = WeakNode(node: nil)
    var beginAnew: (@Sendable (Configuration) -> Void)?
  }

  /// Offers that are being read and judged.
  private static let offersMax = 4

  /// Where this node takes requests.
  let address: String
  let logger: Logger
  /// For what nodes ask one another about configurations.
  let pool = KVPool(limits: KVLimits(connectionsPerNodeMax: 4, answerBytesMax: 2 << 20))
  private let directory: String
  private let fileSystem: any FileSystem
  private let placing: @Sendable (ShardMap) throws -> Configuration
  private let state: Mutex<State>
  /// One offer is judged at a time; held over a sync, and by no event loop.
  private let turn = Mutex(())
  private let offers = Atomic(0)

  /// - Parameters:
  ///   - map: what counts at the start.
  ///   - placing: what this node is by a configuration: one more replica where that does not name it.
  ///     Throws why it cannot be that.
  public init(
    _ map: ShardMap, address: String, dataDirectory: String, logger: Logger,
    fileSystem: any FileSystem = SystemFileSystem(),
    placing: @escaping @Sendable (ShardMap) throws -> Configuration
  ) {
    self.address = address
    self.logger = logger
    self.placing = placing
    self.fileSystem = fileSystem
    directory = dataDirectory
    state = Mutex(State(current: ConfigurationVersion(map)))
  }

  /// Ends what is asked of other nodes.
  public func close() { pool.close() }

  package var current: ConfigurationVersion { state.withLock { $0.current } }

  /// Puts what counts into the data directory, in place of what is older there.
  public func store() throws { try turn.withLock { _ in try note.write(current.map) } }

  private var note: ConfigurationNote { ConfigurationNote(directory, fileSystem: fileSystem) }

  // MARK: - The node

  /// A node begins with a configuration.
  ///
  /// - Parameter beginAnew: called with another one once its place is another.
  public func begin(
    _ configuration: Configuration, beginAnew: @escaping @Sendable (Configuration) -> Void
  ) {
    state.withLock { state in
      state.running = configuration.place
      state.beginAnew = beginAnew
    }
    // What came since it was made.
    settle()
  }

  /// That node's event loops go by what this one says.
  func serve(_ node: NodeState) {
    let map = state.withLock { state in
      state.node = WeakNode(node: node)
      return state.current.map
    }
    node.cluster?.take(map)
  }

  /// Has the node begin anew where its place is another than it was begun with.
  package func settle() {
    let (map, running, beginAnew) = state.withLock {
      ($0.current.map, $0.running, $0.beginAnew)
    }
    guard let running, let beginAnew else { return }
    do {
      let next = try placed(map, running)
      guard next.place != running else { return }
      logger.notice(
        "configuration: version \(map.version) changes this node's place, and it begins anew as \(next.placeText)"
      )
      if next.wasRemoved {
        logger.warning(
          "the configuration does not name this node any more: it counts for no quorum, and goes on as one more replica until it is stopped"
        )
      }
      beginAnew(next)
    } catch {
      logger.error("configuration: version \(map.version): \(error)")
    }
  }

  private func placed(
    _ map: ShardMap, _ running: Configuration.Place
  ) throws -> Configuration {
    var next = try placing(map)
    next.wasRemoved = !next.isListed && (running.isListed || running.wasRemoved)
    next.keeper = self
    return next
  }

  // MARK: - Offers

  /// Reads an offer off the event loops, and judges it.
  ///
  /// - Throws: `ShardMapError` for what is none; `Busy`.
  func offer(json: [UInt8], file: String) async throws -> (ShardMap, Verdict) {
    try await reading {
      let map = try ShardMap(json: json, file: file)
      return (map, self.offer(map))
    }
  }

  struct Busy: Error, CustomStringConvertible {
    let description = "other configurations are being read: ask again"
  }

  /// Runs `body` on a thread that may wait for the disk; few at a time, for what is read is large.
  func reading<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
    defer { offers.subtract(1, ordering: .relaxed) }
    guard offers.add(1, ordering: .relaxed).newValue <= Self.offersMax else { throw Busy() }
    return try await NIOSingletons.posixBlockingThreadPool.runIfActive(body)
  }

  /// Takes a configuration in place of the current one, or says why not. It waits for the disk.
  package func offer(_ map: ShardMap) -> Verdict {
    turn.withLock { _ in
      let (current, running, node) = state.withLock { ($0.current, $0.running, $0.node.node) }
      if let verdict = Self.verdict(current, map) { return verdict }
      do {
        if let running {
          let next = try placed(map, running)
          if next.wasRemoved, let refusal = removalRefusal(node, running) {
            return .refused(refusal)
          }
          // What quorums have acknowledged without this node it has once it has caught up.
          if next.isListed, !running.isListed {
            try LackNote(directory, fileSystem: fileSystem).write()
          }
        }
        try note.write(map)
      } catch let error as WALError {
        return .failed(error)
      } catch {
        return .refused("\(error)")
      }
      let version = ConfigurationVersion(map)
      // It may be another one than it was when this began.
      let serving = state.withLock { state in
        state.current = version
        return state.node.node
      }
      serving?.cluster?.take(map)
      return .taken
    }
  }

  /// A node that may be the one that leads is not taken out of its shard: others would lead without what
  /// it alone has.
  private func removalRefusal(
    _ node: NodeState?, _ running: Configuration.Place
  ) -> String? {
    guard let node else {
      return "\(address) would be no node any more, and is starting: ask again"
    }
    guard node.isLeading else { return nil }
    return
      "\(address) leads shard \(running.shardName.debugDescription), of which it would be no node any more: have another one lead first (kv promote --handover)"
  }

  /// Nil where nothing in the two is in the way.
  private static func verdict(_ current: ConfigurationVersion, _ map: ShardMap) -> Verdict? {
    switch ShardMapUpdate(of: current.map, by: map) {
    case .known: .known
    case .notAbove:
      .refused("version \(map.version) is not above version \(current.number), which is here")
    case .contradiction:
      .refused(
        "version \(map.version) is not above version \(current.number), which is here, and says something else: raise the version"
      )
    case .refused(let reason): .refused(reason)
    case .taken: nil
    }
  }
}

/// A configuration as nodes tell it one another.
package struct ConfigurationVersion: Sendable {
  package let map: ShardMap
  package let json: [UInt8]
  /// Of the JSON: tells two of the same number apart.
  let check: UInt32

  init(_ map: ShardMap) {
    self.map = map
    json = map.json
    check = ConfigurationNote.check(json)
  }

  package var number: Int { map.version }
}

/// The keeper does not keep a node that has stopped.
private struct WeakNode: Sendable {
  weak let node: NodeState?
}

extension Configuration {
  /// Whatever of a node a configuration of the cluster can change.
  struct Place: Hashable, Sendable {
    let shardName: String
    let shardIndex: UInt32
    let members: [Member]
    let role: Role
    let leader: String?
    let writeQuorum: Int
    let readQuorum: Int
    let isListed: Bool
    let wasRemoved: Bool
  }

  var place: Place {
    Place(
      shardName: shardName, shardIndex: shardIndex, members: members, role: role,
      leader: leaderAddress, writeQuorum: writeQuorum, readQuorum: readQuorum,
      isListed: isListed, wasRemoved: wasRemoved)
  }

  /// Whether it is a member of its shard.
  var isListed: Bool { members.isEmpty || members.contains { $0.id == id } }

  fileprivate var placeText: String {
    let role =
      role == .leader ? "the configured leader" : isListed ? "a replica" : "one more replica"
    return "\(role) of \(shardName.debugDescription)"
  }
}
