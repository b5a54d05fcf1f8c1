import Client
import Engine
import NIOCore
import NIOHTTP1
import WAL

/// Reads of one event loop that ask several members of the shard: which of them has come furthest.
///
/// All members follow one log, so the one with the highest (epoch, sequence number) applied is right, for
/// keys that are not there too. A member is asked once for all the reads that came while it was being
/// asked for those before them: what it says is from behind the beginning of each read that it is for.
final class ReadQuorums {
  /// Who answers a read.
  enum Verdict {
    case here
    /// The member that has as much.
    case there(NodeAddress, Succession.Standing)
    /// So many said how far they are, this node included where it counts.
    case tooFew(Int)
  }

  private final class Read {
    let wanted: Int
    /// Answers that may still come.
    var open: Int
    var answers: Int
    var best: (node: NodeAddress, standing: Succession.Standing)?
    var action: ((Verdict) -> Void)?
    var timer: Scheduled<Void>?
    var isDone = false

    init(
      wanted: Int, open: Int, isCounting: Bool, action: @escaping (Verdict) -> Void
    ) {
      self.wanted = wanted
      self.open = open
      answers = isCounting ? 1 : 0
      self.action = action
    }
  }

  /// Another member, and the reads that it is asked for.
  private final class Peer {
    let address: NodeAddress
    var asking: [Read] = []
    var next: [Read] = []
    var isAsking = false

    init(_ address: NodeAddress) { self.address = address }
  }

  private let eventLoop: any EventLoop
  private let node: NodeState
  private let peers: [Peer]
  private let isMember: Bool
  /// Whether what this node has counts.
  private var isCounting: Bool { isMember && !node.mayLack }
  private var reads: [ObjectIdentifier: Read] = [:]

  init(eventLoop: any EventLoop, node: NodeState) {
    self.eventLoop = eventLoop
    self.node = node
    peers = node.peers.map(Peer.init)
    isMember = node.isMember
  }

  private var readsMax: Int { node.configuration.limits.askingReadsMax }
  var hasRoom: Bool { reads.count < readsMax }

  /// Calls `action`, in a later turn, with who answers a read that asks so many members.
  func ask(_ wanted: Int, within time: TimeAmount, _ action: @escaping (Verdict) -> Void) {
    let read = Read(wanted: wanted, open: peers.count, isCounting: isCounting, action: action)
    reads[ObjectIdentifier(read)] = read
    read.timer = eventLoop.assumeIsolated().scheduleTask(in: time) {
      self.end(read, .tooFew(read.answers))
    }
    for peer in peers {
      if peer.next.count >= 2 * readsMax { peer.next.removeAll { $0.isDone } }
      peer.next.append(read)
      if !peer.isAsking { ask(peer) }
    }
  }

  /// Nobody waits any more: the node stops.
  func giveUp() {
    for read in Array(reads.values) { end(read, .tooFew(read.answers)) }
  }

  private func ask(_ peer: Peer) {
    peer.next.removeAll { $0.isDone }
    guard !peer.next.isEmpty else { return }
    peer.isAsking = true
    peer.asking = peer.next
    peer.next = []
    node.forwarder.ownPool.execute(
      KVRequest(.GET, "/wal/position"), on: peer.address,
      deadline: .now() + .seconds(Int64(node.configuration.limits.positionSeconds)),
      eventLoop: eventLoop
    ).assumeIsolated().whenComplete { result in
      let standing = (try? result.get()).flatMap(NodePosition.init)?.standing
      let asking = peer.asking
      peer.asking = []
      peer.isAsking = false
      for read in asking { self.answered(read, standing, by: peer.address) }
      self.ask(peer)
    }
  }

  private func answered(_ read: Read, _ standing: Succession.Standing?, by address: NodeAddress) {
    guard !read.isDone else { return }
    read.open -= 1
    // Another log's numbers say nothing about this one's.
    if let standing, standing.origin == node.store.origin {
      read.answers += 1
      if let best = read.best {
        if Succession.Standing.isLess(best.standing, standing) { read.best = (address, standing) }
      } else {
        read.best = (address, standing)
      }
    }
    if read.answers >= read.wanted {
      // This node's own position is that of now, which has all that it had when the read began.
      let own = isCounting ? node.position : nil
      guard let best = read.best,
        own.map({ Succession.Standing.isLess($0, best.standing) }) ?? true
      else { return end(read, .here) }
      end(read, .there(best.node, best.standing))
    } else if read.answers + read.open < read.wanted {
      end(read, .tooFew(read.answers))
    }
  }

  private func end(_ read: Read, _ verdict: Verdict) {
    guard !read.isDone else { return }
    read.isDone = true
    read.timer?.cancel()
    reads[ObjectIdentifier(read)] = nil
    let action = read.action
    // What a silent member keeps of it is small.
    read.action = nil
    action?(verdict)
  }
}

/// `GET /wal/position`: how far a node's log is, in one line, as cheap as can be.
struct NodePosition {
  let standing: Succession.Standing

  /// - Returns: nil where the answer is none.
  init?(_ answer: KVResponse) {
    guard answer.status == 200 else { return nil }
    self.init(String(buffer: answer.body))
  }

  /// What `text` writes; nil where it is something else.
  init?(_ text: String) {
    let parts = text.split(separator: " ", omittingEmptySubsequences: false)
    guard parts.count == 3, let origin = UInt64(parts[0], radix: 16),
      let epoch = Epoch(parts[1]), let sequence = UInt64(parts[2])
    else { return nil }
    standing = Succession.Standing(origin: origin, epoch: epoch, sequence: sequence)
  }

  static func text(_ standing: Succession.Standing) -> String {
    "\(hexadecimal(standing.origin)) \(standing.epoch.text) \(standing.sequence)"
  }
}

extension LoopState {
  /// Tells how far this node is, durable and applied; not where that does not stand for what it has
  /// acknowledged.
  func position(_ lane: StandardLane) -> Handling {
    lane.isFor(.position)
    guard let standing = node.position, !node.mayLack else {
      return .now(unavailable("this node may lack what it has acknowledged"))
    }
    body.writeString(NodePosition.text(standing))
    return .now(Answer(.ok))
  }
}
