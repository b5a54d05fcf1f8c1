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
  /// What is added to every request.
  private let readFields: [UInt8]
  private let writeFields: [UInt8]

  init(_ loop: LoopState) {
    self.loop = loop
    let own = "\(Forwarder.hopsField): \(loop.node.address)\r\n"
    let isForLeader = loop.node.configuration.readFrom == .leader
    readFields = Array((own + (isForLeader ? "\(Errand.sourceField): leader\r\n" : "")).utf8)
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
    let source = request.isRead ? loop.node.configuration.readFrom : .leader
    guard
      let link = link
        ?? choose(Target(node: cluster.reader(of: request.shard, source), kind: request.kind))
    else { return nil }
    loop.metrics.forwarded.increment()
    link.send(request) { output in
      output.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[..<(headBytes - 2)]))
      output.writeBytes(request.isRead ? readFields : writeFields)
      output.writeStaticString("\r\n")
      output.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[headBytes...]))
    }
    return link
  }

  /// Tries a request again, by whoever leads the shard now.
  ///
  /// - Parameters:
  ///   - bytes: as it was sent.
  ///   - error: what its client is told where nobody does.
  func again(
    _ request: RelayedRequest, _ bytes: ByteBuffer, instead node: NodeAddress, hint: String?,
    _ error: KVClientError
  ) {
    loop.metrics.forwardFailures.increment()
    loop.node.cluster?.noteFailure(of: node, in: request.shard)
    loop.findLeader(request.shard, hint: hint) { [loop] leader in
      var next = request
      next.attempts += 1
      guard let leader, next.attempts < Errand.attemptsMax, !loop.isDraining,
        let link = self.choose(Target(node: leader, kind: request.kind))
      else {
        request.lane.relayFailed(request, node, error)
        return request.lane.resume()
      }
      link.send(next) { $0.writeImmutableBuffer(bytes) }
    }
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
      link.connect()
      return link
    }
    return best.flatMap { $0.count < Self.requestsMax ? $0 : nil }
  }

  func forget(_ link: RelayLink) {
    for (target, open) in links where open.contains(where: { $0 === link }) {
      links[target] = open.filter { $0 !== link }
      if links[target]?.isEmpty == true { links[target] = nil }
    }
  }

  private var all: [RelayLink] { links.values.flatMap { $0 } }

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
      } else if link.age(now) > Errand.patience, let shard = link.waitingShard {
        let isForLeader = loop.node.cluster?.leader(of: shard) == link.address
        loop.findLeader(shard, hint: nil) { leader in
          // Who led and is silent has been replaced.
          if let leader, isForLeader, leader != link.address { link.end(.connectionClosed) }
        }
      }
    }
  }

  func stop() {
    for link in all { link.end(.connectionClosed) }
  }
}
