import Foundation

/// Answers every request with the same JSON: what a node's `/status` could say.
final class StatusPage: Sendable {
  let address: LoopbackAddress
  private let descriptor: Int32

  init(at address: LoopbackAddress = .fresh(), _ json: String) throws {
    self.address = address
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    self.descriptor = descriptor
    var target = address.socketAddress
    let result = withUnsafePointer(to: &target) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard result == 0, listen(descriptor, 16) == 0 else { throw ConnectionError.refused }
    let answer = Array(
      ("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
        + "Content-Length: \(json.utf8.count)\r\n\r\n\(json)").utf8)
    Thread.detachNewThread {
      while true {
        let connection = accept(descriptor, nil, nil)
        guard connection >= 0 else { return }
        var room = [UInt8](repeating: 0, count: 4_096)
        // A request for a status comes in one piece.
        _ = recv(connection, &room, room.count, 0)
        _ = send(connection, answer, answer.count, Int32(MSG_NOSIGNAL))
        shutdown(connection, Int32(SHUT_WR))
        while recv(connection, &room, room.count, 0) > 0 {}
        close(connection)
      }
    }
  }

  deinit {
    // The thread ends with the call that it is in.
    shutdown(descriptor, Int32(SHUT_RDWR))
    close(descriptor)
  }
}
