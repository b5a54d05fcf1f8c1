import Foundation
import Synchronization

/// One connection of a link: two sockets, and what is on its way between them.
final class LinkConnection {
  /// One direction.
  private struct Flow {
    let direction: LinkDirection
    let source: Int32
    let sink: Int32
    var pieces: [(bytes: ArraySlice<UInt8>, due: UInt64)] = []
    var bytes = 0
    /// Nothing is read before.
    var readAt: UInt64 = 0
    /// The source has said all, and the sink knows.
    var hasEnded = false
    var isEndPassedOn = false
  }

  private static let pieceBytesMax = 16 << 10
  private static let flowBytesMax = 64 << 10

  private var flows: [Flow]
  /// Set when it ends as soon as what is left has been sent: whether by a reset.
  private var cutResets: Bool?
  private(set) var isClosed = false

  init(client: Int32, server: Int32) {
    flows = [
      Flow(direction: .toLeader, source: client, sink: server),
      Flow(direction: .toFollower, source: server, sink: client),
    ]
  }

  func close(resetting: Bool = false) {
    guard !isClosed else { return }
    isClosed = true
    for flow in flows {
      var linger = linger(l_onoff: resetting ? 1 : 0, l_linger: 0)
      setsockopt(
        flow.source, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Foundation.linger>.size)
      )
      Foundation.close(flow.source)
    }
  }

  private static var now: UInt64 { DispatchTime.now().uptimeNanoseconds }

  // MARK: - Turns

  /// What to wait for: the client's socket, and the server's.
  func interest(_ control: borrowing Mutex<LinkControl>) -> [pollfd] {
    let now = Self.now
    let reads = flows.map { canRead($0, control.withLock { $0.faults }, now) }
    let writes = flows.map { canWrite($0, now) }
    return (0..<2).map { index in
      let events = (reads[index] ? POLLIN : 0) | (writes[1 - index] ? POLLOUT : 0)
      // Without interest it would report an end for ever.
      return pollfd(
        fd: events == 0 ? -1 : flows[index].source, events: Int16(events), revents: 0)
    }
  }

  private func canRead(_ flow: Flow, _ faults: [LinkFaults], _ now: UInt64) -> Bool {
    !flow.hasEnded && cutResets == nil && flow.bytes < Self.flowBytesMax && flow.readAt <= now
      && !faults[flow.direction.rawValue].isStalled
  }

  private func canWrite(_ flow: Flow, _ now: UInt64) -> Bool {
    flow.pieces.first.map { $0.due <= now } ?? false
  }

  /// Reads and writes what can be.
  func go(_ client: pollfd, _ server: pollfd, _ control: borrowing Mutex<LinkControl>) {
    let now = Self.now
    for (index, found) in [client, server].enumerated() where found.fd >= 0 && found.revents != 0 {
      let faults = control.withLock { $0.faults }
      if canRead(flows[index], faults, now) { read(&flows[index], control, now) }
    }
    for index in flows.indices where !isClosed { write(&flows[index], now) }
    guard !isClosed else { return }
    if let cutResets, flows.allSatisfy({ $0.pieces.isEmpty }) { return close(resetting: cutResets) }
    let faults = control.withLock { $0.faults }
    for index in flows.indices { passEnd(&flows[index], faults) }
    if flows.allSatisfy(\.isEndPassedOn) { close() }
  }

  private func read(
    _ flow: inout Flow, _ control: borrowing Mutex<LinkControl>, _ now: UInt64
  ) {
    let (rate, delay) = control.withLock {
      let faults = $0.faults[flow.direction.rawValue]
      return (faults.bytesPerSecond, faults.delayMilliseconds)
    }
    let most = rate.map { max(1, min(Self.pieceBytesMax, $0 / 20)) } ?? Self.pieceBytesMax
    var piece = [UInt8](repeating: 0, count: most)
    let count = recv(flow.source, &piece, most, 0)
    guard count > 0 else {
      if count == 0 || (errno != EAGAIN && errno != EINTR) { flow.hasEnded = true }
      return
    }
    piece.removeLast(most - count)
    if let rate { flow.readAt = now + UInt64(count) * 1_000_000_000 / UInt64(rate) }
    let direction = flow.direction.rawValue
    let (isCut, resets) = control.withLock {
      ($0.faults[direction].pass(&piece), $0.faults[direction].resets)
    }
    if isCut { cutResets = resets }
    guard !piece.isEmpty else { return }
    flow.bytes += piece.count
    flow.pieces.append((piece[...], now + delay * 1_000_000))
  }

  private func write(_ flow: inout Flow, _ now: UInt64) {
    while let (bytes, due) = flow.pieces.first, due <= now {
      let count = bytes.withUnsafeBytes {
        send(flow.sink, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      guard count > 0 else {
        // Who should have it is gone.
        if errno != EAGAIN, errno != EINTR { close() }
        return
      }
      flow.bytes -= count
      if count == bytes.count {
        flow.pieces.removeFirst()
      } else {
        flow.pieces[0].bytes = bytes.dropFirst(count)
      }
    }
  }

  /// Tells the sink that the source has said all, unless nobody is told anything.
  private func passEnd(_ flow: inout Flow, _ faults: [LinkFaults]) {
    let own = faults[flow.direction.rawValue]
    guard flow.hasEnded, !flow.isEndPassedOn, flow.pieces.isEmpty, !own.isStalled,
      !own.isSwallowing
    else { return }
    shutdown(flow.sink, Int32(SHUT_WR))
    flow.isEndPassedOn = true
  }
}
