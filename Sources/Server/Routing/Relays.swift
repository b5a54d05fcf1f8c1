import Client
import NIOCore

/// An event loop's links to nodes of other shards: how the fast lane hands requests on.
final class Relays {
  /// What goes over the same links.
  struct Kind: Hashable {
    enum Purpose {
      case read, write
      /// Writes that say how many members are to have them, and may wait long for these.
      case quorumWrite
    }

    var purpose: Purpose
    /// Nodes that it has come through: what goes round in a circle must not wait behind itself.
    var hops: UInt8
  }

  private struct Target: Hashable {
    var node: NodeAddress
    var kind: Kind
  }

  /// Links to one node for one kind of requests.
  private static let linksMax = 8
  /// Requests of one link.
  private static let requestsMax = 4_096
  private static let idleTime = TimeAmount.seconds(30)
  /// What an answer takes on top of what its request waits for.
  private static let answerMilliseconds: Int64 = 5_000

  unowned let loop: LoopState
  private var links: [Target: [RelayLink]] = [:]
  /// Links that take no more requests, and have some.
  private var retired: [RelayLink] = []
  private var replacedAt: NIODeadline?
  /// What is added to reads that only a leader is to answer, and to all others.
  private let readFields: [UInt8]
  private let writeFields: [UInt8]

  init(_ loop: LoopState) {
    self.loop = loop
    let own =
      "\(Forwarder.hopsField): \(loop.node.address)\r\n"
      + "\(Errand.shardsField): \(loop.node.shardsText)\r\n"
    readFields = Array((own + "\(Errand.sourceField): leader\r\n").utf8)
    writeFields = Array(own.utf8)
  }

  /// Hands a request on.
  ///
  /// - Parameters:
  ///   - bytes: the request, of which `headBytes` are its head with the empty line.
  ///   - link: the one that it has to go by.
  /// - Returns: the link that has it; nil where there is no room.
  func send(
    _ request: RelayedRequest, _ bytes: UnsafeRawBufferPointer, headBytes: Int, by link: RelayLink?
  ) -> RelayLink? {
    guard let cluster = loop.node.cluster else { return nil }
    let source = request.isRead && !request.isForLeader ? loop.node.configuration.readFrom : .leader
    guard
      let link = link
        ?? choose(Target(node: cluster.reader(of: request.shard, source), kind: request.kind))
    else { return nil }
    let fields = fields(of: request)
    guard link.count < Self.requestsMax,
      loop.node.chargeBody(bytes.count + fields.count, limit: loop.limits.bodyBytesMax)
    else { return nil }
    loop.metrics.forwarded.increment()
    link.send(request) { output in
      output.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[..<(headBytes - 2)]))
      output.writeBytes(fields)
      output.writeStaticString("\r\n")
      output.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[headBytes...]))
    }
    return link
  }

  private func fields(of request: RelayedRequest) -> [UInt8] {
    request.isForLeader ? readFields : writeFields
  }

  /// A request without a body, as its client has sent it.
  ///
  /// - Parameter bytes: as they were handed on.
  func asAsked(_ request: RelayedRequest, _ bytes: ByteBuffer) -> ByteBuffer {
    let end = bytes.readableBytes - 2 - fields(of: request).count
    guard var asked = bytes.getSlice(at: bytes.readerIndex, length: end) else {
      preconditionFailure("a request that was not handed on")
    }
    asked.writeStaticString("\r\n")
    return asked
  }

  /// Tries a request again, by whoever leads the shard now.
  ///
  /// - Parameters:
  ///   - bytes: as it was sent.
  ///   - node: that could not be had.
  ///   - error: what its client is told where nobody leads.
  ///   - counts: whether this is one of the times that it may be tried.
  func again(
    _ request: RelayedRequest, _ bytes: ByteBuffer, instead node: NodeAddress, hint: String?,
    _ error: KVClientError, counts: Bool = true
  ) {
    let lane = request.lane
    // Pipelined writes that are tried again might overtake each other.
    guard request.isRead || lane.isAlone(request) else {
      lane.relayFailed(request, node, error)
      return lane.resume()
    }
    loop.metrics.forwardFailures.increment()
    loop.node.cluster?.noteFailure(of: node, in: request.shard)
    loop.findLeader(request.shard, hint: hint, instead: node) { [loop] leader in
      var next = request
      if counts { next.attempts += 1 }
      guard let leader, next.attempts < Errand.attemptsMax, !loop.isDraining,
        let link = self.choose(Target(node: leader, kind: request.kind)),
        link.count < Self.requestsMax,
        loop.node.chargeBody(bytes.readableBytes, limit: loop.limits.bodyBytesMax)
      else {
        lane.relayFailed(request, node, error)
        return lane.resume()
      }
      link.send(next) { $0.writeImmutableBuffer(bytes) }
    }
  }

  /// Sends a read once more, by another link to a node.
  ///
  /// - Returns: false where there is no room.
  func move(_ request: RelayedRequest, _ bytes: ByteBuffer, to node: NodeAddress) -> Bool {
    guard let link = choose(Target(node: node, kind: request.kind)),
      link.count < Self.requestsMax,
      loop.node.chargeBody(bytes.readableBytes, limit: loop.limits.bodyBytesMax)
    else { return false }
    link.send(request) { $0.writeImmutableBuffer(bytes) }
    return true
  }

  /// The link with the fewest requests; a new one where all keep theirs waiting.
  private func choose(_ target: Target) -> RelayLink? {
    let now = NIODeadline.now()
    let open = links[target] ?? []
    let best = open.min { $0.count < $1.count }
    if let best, !best.isStalled(now) { return best }
    if let free = open.first(where: { !$0.isStalled(now) }) { return free }
    if open.count < Self.linksMax {
      let link = RelayLink(
        to: target.node, target.kind, relays: self, eventLoop: loop.eventLoop)
      links[target, default: []].append(link)
      // It may fail at once, and then what it is for has to be known.
      loop.eventLoop.assumeIsolated().execute { link.connect() }
      return link
    }
    return best
  }

  /// A link takes no more requests.
  func forget(_ link: RelayLink) {
    retired.append(link)
    for (target, open) in links where open.contains(where: { $0 === link }) {
      links[target] = open.filter { $0 !== link }
      if links[target]?.isEmpty == true { links[target] = nil }
    }
  }

  /// A link has no requests any more either.
  func ended(_ link: RelayLink) { retired.removeAll { $0 === link } }

  /// Whether a link may be replaced that its node may have taken out of the fast lane: not as often as a
  /// node that has too much to do says so.
  func mayReplace() -> Bool {
    let now = NIODeadline.now()
    if let replacedAt, now - replacedAt < .seconds(1) { return false }
    replacedAt = now
    return true
  }

  private var all: [RelayLink] { links.values.flatMap { $0 } + retired }

  /// Once a second: links that nobody needs are closed, and those whose node is silent are looked after.
  func sweep() {
    let now = NIODeadline.now()
    let most =
      TimeAmount.milliseconds(
        Int64(clamping: loop.limits.waitMilliseconds) + Self.answerMilliseconds)
    for link in all {
      if link.isIdle(now, for: Self.idleTime) {
        link.retire()
      } else if link.age(now) > most {
        link.end(.timedOut(.answer))
      } else if link.age(now) > .milliseconds(loop.limits.silenceMilliseconds),
        let shard = link.waitingShard
      {
        let isLed = loop.node.cluster?.leader(of: shard) == link.address
        guard isLed || link.kind.purpose != .read else {
          // The leader answers what a replica does not.
          link.end(.connectionClosed)
          continue
        }
        loop.findLeader(shard, hint: nil, instead: link.address) { leader in
          // Who led and is silent has been replaced.
          if let leader, isLed, leader != link.address { return link.end(.connectionClosed) }
          if leader != nil, link.kind.purpose == .read, !link.isRetired { link.shed() }
        }
      }
    }
  }

  func stop() {
    for link in all { link.end(.connectionClosed) }
  }
}
