import Foundation
import Synchronization

/// What a relay is told, and what it tells.
struct LinkControl: Sendable {
  /// By direction.
  var faults = [LinkFaults](repeating: LinkFaults(), count: LinkDirection.allCases.count)
  var refusesConnections = false
  /// Once.
  var dropsAll = false
  var isStopped = false
  var connectionsTaken = 0
  var connectionsOpen = 0
}

/// The thread of a `FaultyLink`: waits for sockets, and passes on what they have.
///
/// `@unchecked Sendable`: everything but `control` belongs to the thread that runs it.
final class LinkRelay: @unchecked Sendable {
  /// How soon it looks at what it is told, and at what has been delayed.
  private static let turnMilliseconds: Int32 = 2

  let control = Mutex(LinkControl())
  private let address: LoopbackAddress
  private let target: LoopbackAddress
  /// Nil while connections are refused.
  private var listener: Int32?
  private var connections: [LinkConnection] = []

  init(from address: LoopbackAddress, to target: LoopbackAddress) throws {
    self.address = address
    self.target = target
    listener = try LinkSocket.listen(at: address)
  }

  /// Until it is stopped. Closes everything.
  func run() {
    while obey() {
      var sockets: [pollfd] = connections.flatMap { $0.interest(control) }
      if let listener { sockets.append(pollfd(fd: listener, events: Int16(POLLIN), revents: 0)) }
      guard poll(&sockets, nfds_t(sockets.count), Self.turnMilliseconds) >= 0 else { continue }
      for index in connections.indices {
        connections[index].go(sockets[2 * index], sockets[2 * index + 1], control)
      }
      if let listener, sockets.last?.revents != 0 { accept(listener) }
      removeEnded()
    }
    for connection in connections { connection.close() }
    connections = []
    if let listener { Foundation.close(listener) }
    listener = nil
    removeEnded()
  }

  /// - Returns: false when it is to end.
  private func obey() -> Bool {
    let (refuses, dropsAll, isStopped) = control.withLock { control in
      defer { control.dropsAll = false }
      return (control.refusesConnections, control.dropsAll, control.isStopped)
    }
    if dropsAll {
      for connection in connections { connection.close() }
      removeEnded()
    }
    if refuses, let listener {
      Foundation.close(listener)
      self.listener = nil
    } else if !refuses, listener == nil {
      // Tried again in the next turn.
      listener = try? LinkSocket.listen(at: address)
    }
    return !isStopped
  }

  private func accept(_ listener: Int32) {
    let client = Foundation.accept(listener, nil, nil)
    guard client >= 0 else { return }
    // Not for the processes that are started meanwhile.
    _ = fcntl(client, F_SETFD, FD_CLOEXEC)
    _ = fcntl(client, F_SETFL, O_NONBLOCK)
    guard let server = LinkSocket.connect(to: target) else {
      Foundation.close(client)
      return
    }
    connections.append(LinkConnection(client: client, server: server))
    control.withLock {
      $0.connectionsTaken += 1
      $0.connectionsOpen += 1
    }
  }

  private func removeEnded() {
    connections.removeAll(where: \.isClosed)
    control.withLock { $0.connectionsOpen = connections.count }
  }
}

/// The sockets of a link. Their buffers are small, so that a link that is not read holds little.
enum LinkSocket {
  private static let bufferBytes: Int32 = 32 << 10

  private static func make() throws -> Int32 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
    var (one, bytes): (Int32, Int32) = (1, bufferBytes)
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(4))
    setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, socklen_t(4))
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(4))
    return descriptor
  }

  private static func withAddress<R>(
    _ address: LoopbackAddress, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R
  ) -> R {
    var target = address.socketAddress
    return withUnsafePointer(to: &target) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }

  static func listen(at address: LoopbackAddress) throws -> Int32 {
    let descriptor = try make()
    guard withAddress(address, { bind(descriptor, $0, $1) }) == 0,
      Foundation.listen(descriptor, 128) == 0
    else {
      let code = errno
      close(descriptor)
      throw POSIXError(.init(rawValue: code) ?? .EIO)
    }
    return descriptor
  }

  /// - Returns: nil when nobody listens there.
  static func connect(to address: LoopbackAddress) -> Int32? {
    guard let descriptor = try? make() else { return nil }
    guard withAddress(address, { Foundation.connect(descriptor, $0, $1) }) == 0,
      fcntl(descriptor, F_SETFL, O_NONBLOCK) == 0
    else {
      close(descriptor)
      return nil
    }
    return descriptor
  }
}
