import NIOCore

/// Who has which connection, and who waits, without the connections' input and output.
///
/// A request holds one of its node's places from its admission to its end, whether it has a
/// connection or makes one; a kept-open connection holds one too. Requests wait only while all places
/// of their node are held by requests.
struct PoolState {
  enum Admission {
    case use(KVConnection)
    /// A place was free, but no connection was kept open: make one.
    case connect
    case wait
    case refuse(FailureCause)
  }

  /// What becomes of a place, and of the connection in it.
  enum Succession {
    case use(KVConnection, PooledRequest)
    case connect(PooledRequest)
    case close(KVConnection)
    case none
  }

  fileprivate struct Node {
    /// Places held by requests.
    var held = 0
    /// The longest kept first.
    var kept: [KeptConnection] = []
    /// The oldest first.
    var waiting = CircularBuffer<PooledRequest>()

    var isUnused: Bool { held == 0 && kept.isEmpty && waiting.isEmpty }
  }

  fileprivate struct KeptConnection {
    var connection: KVConnection
    var since: NIODeadline
  }

  private let limits: KVLimits
  private var nodes: [NodeAddress: Node] = [:]
  private(set) var isClosed = false
  private var isDrained = false
  /// Connections that are open, in whatever use.
  private(set) var openCount = 0

  init(limits: KVLimits) {
    self.limits = limits
  }

  /// Places that requests hold, of all nodes.
  var heldCount: Int { nodes.values.reduce(0) { $0 + $1.held } }

  /// Whether the pool is closed and nothing is left; true only the first time.
  mutating func becomesDrained() -> Bool {
    guard isClosed, !isDrained, openCount == 0, nodes.isEmpty else { return false }
    isDrained = true
    return true
  }

  mutating func admit(_ request: PooledRequest) -> Admission {
    guard !isClosed else { return .refuse(.poolClosed) }
    return withNode(request.address) { [limits] node in
      if let connection = node.takeKept(for: request) {
        node.held += 1
        return .use(connection)
      }
      if node.held < limits.connectionsPerNodeMax {
        node.held += 1
        return .connect
      }
      guard node.waiting.count < limits.waitingPerNodeMax else {
        return .refuse(.tooManyWaiting(max: limits.waitingPerNodeMax))
      }
      node.waiting.append(request)
      return .wait
    }
  }

  /// A request that waited waits no more.
  ///
  /// - Returns: false when it got a place before.
  mutating func withdraw(_ request: PooledRequest) -> Bool {
    withNode(request.address) { node in
      guard let index = node.waiting.firstIndex(where: { $0 === request }) else { return false }
      node.waiting.remove(at: index)
      return true
    }
  }

  /// A request has ended.
  ///
  /// - Parameter connection: its connection, if it can be used again.
  mutating func release(
    _ address: NodeAddress, _ connection: KVConnection?, now: NIODeadline
  ) -> Succession {
    withNode(address) { [isClosed] node in
      // Those whose time is over are about to withdraw.
      if let index = node.waiting.firstIndex(where: { $0.deadline > now }) {
        let next = node.waiting.remove(at: index)
        return connection.map { .use($0, next) } ?? .connect(next)
      }
      node.held -= 1
      guard let connection else { return .none }
      guard !isClosed else { return .close(connection) }
      node.kept.append(KeptConnection(connection: connection, since: now))
      return .none
    }
  }

  mutating func opened() {
    openCount += 1
  }

  mutating func closed(_ connection: KVConnection) {
    openCount -= 1
    withNode(connection.address) { node in
      node.kept.removeAll { $0.connection === connection }
    }
  }

  /// Takes out the connections that were kept too long.
  ///
  /// - Returns: these, and when the next one will have been, if there is one.
  mutating func takeIdle(now: NIODeadline) -> (connections: [KVConnection], next: NIODeadline?) {
    var (taken, next) = ([KVConnection](), NIODeadline?.none)
    for address in Array(nodes.keys) {
      withNode(address) { [limits] node in
        let count = node.kept.prefix { $0.since + limits.idleTimeout <= now }.count
        taken += node.kept.prefix(count).map(\.connection)
        node.kept.removeFirst(count)
        if let first = node.kept.first {
          next = min(next ?? .distantFuture, first.since + limits.idleTimeout)
        }
      }
    }
    return (taken, next)
  }

  /// From now on nothing is admitted.
  ///
  /// - Returns: who waited, and which connections were kept open.
  mutating func close() -> (waiting: [PooledRequest], kept: [KVConnection]) {
    isClosed = true
    var (waiting, kept) = ([PooledRequest](), [KVConnection]())
    for address in Array(nodes.keys) {
      withNode(address) { node in
        waiting += node.waiting
        kept += node.kept.map(\.connection)
        node.waiting.removeAll()
        node.kept = []
      }
    }
    return (waiting, kept)
  }

  /// Nodes that are not in use are not remembered.
  private mutating func withNode<R>(_ address: NodeAddress, _ body: (inout Node) -> R) -> R {
    var node = nodes.removeValue(forKey: address) ?? Node()
    defer { if !node.isUnused { nodes[address] = node } }
    return body(&node)
  }
}

extension PoolState.Node {
  /// The last one used, which the node is least likely to have closed; one of the same event loop if
  /// there is any, which saves two hops between threads.
  fileprivate mutating func takeKept(for request: PooledRequest) -> KVConnection? {
    let same = kept.lastIndex { $0.connection.eventLoop === request.eventLoop }
    guard let index = same ?? kept.indices.last else { return nil }
    return kept.remove(at: index).connection
  }
}
