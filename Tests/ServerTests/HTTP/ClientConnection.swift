import Glibc

/// A client's end of a connection, which says what it is told to, byte for byte.
///
/// Waits for a minute at most.
final class ClientConnection {
  enum Failure: Error {
    case call(String, errno: CInt)
    /// The server said nothing for that long.
    case silence
    /// The connection ended within an answer, or before it.
    case ended(after: String)
    case malformed(String)
  }

  private let descriptor: CInt
  /// Bytes that no answer has taken yet.
  private var received: [UInt8] = []

  init(port: Int) throws {
    descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
    guard descriptor >= 0 else { throw Failure.call("socket", errno: errno) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(UInt16(port).bigEndian)
    address.sin_addr.s_addr = in_addr_t(UInt32(0x7F00_0001).bigEndian)
    let result = withUnsafeBytes(of: &address) {
      connect(
        descriptor, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self),
        socklen_t(MemoryLayout<sockaddr_in>.size))
    }
    guard result == 0 else { throw Failure.call("connect", errno: errno) }
  }

  deinit { Glibc.close(descriptor) }

  // MARK: - Sending

  func send(_ text: String) throws { try send(Array(text.utf8)) }

  func send(_ bytes: [UInt8]) throws {
    var start = 0
    while start < bytes.count {
      let count = bytes[start...].withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL))
      }
      guard count > 0 else { throw Failure.call("send", errno: errno) }
      start += count
    }
  }

  /// Sends a request with a `Host` and, where there is a body, its length.
  func send(
    _ method: String, _ target: String, _ headers: [String] = [], body: String = ""
  ) throws {
    var lines = ["\(method) \(target) HTTP/1.1", "Host: x"] + headers
    if !body.isEmpty { lines.append("Content-Length: \(body.utf8.count)") }
    try send(lines.joined(separator: "\r\n") + "\r\n\r\n" + body)
  }

  func endOutput() { _ = shutdown(descriptor, CInt(SHUT_WR)) }

  // MARK: - Receiving

  /// The next answer.
  ///
  /// - Parameter toHead: it answers a `HEAD`, and has no body.
  func answer(toHead: Bool = false) async throws -> ClientAnswer {
    let end = Array("\r\n\r\n".utf8)
    while true {
      if let head = received.firstRange(of: end) {
        var answer = try ClientAnswer(head: received[..<head.lowerBound])
        received.removeSubrange(..<head.upperBound)
        let count = toHead ? 0 : Int(answer["content-length"] ?? "0") ?? 0
        while received.count < count { try await receiveMore() }
        answer.body = Array(received.prefix(count))
        received.removeFirst(count)
        return answer
      }
      try await receiveMore()
    }
  }

  /// The head of an answer that comes in chunks.
  func head() async throws -> ClientAnswer {
    let end = Array("\r\n\r\n".utf8)
    while true {
      if let head = received.firstRange(of: end) {
        let answer = try ClientAnswer(head: received[..<head.lowerBound])
        received.removeSubrange(..<head.upperBound)
        return answer
      }
      try await receiveMore()
    }
  }

  func bytes(_ count: Int) async throws -> [UInt8] {
    while received.count < count { try await receiveMore() }
    defer { received.removeFirst(count) }
    return Array(received.prefix(count))
  }

  /// The next chunk of an answer; nil at its end.
  func chunk() async throws -> [UInt8]? {
    let end = Array("\r\n".utf8)
    while true {
      if let line = received.firstRange(of: end) {
        let text = String(decoding: received[..<line.lowerBound], as: UTF8.self)
        guard let count = Int(text, radix: 16) else { throw Failure.malformed(text) }
        let whole = line.upperBound + count + end.count
        while received.count < whole { try await receiveMore() }
        let chunk = Array(received[line.upperBound..<line.upperBound + count])
        received.removeSubrange(..<whole)
        return count == 0 ? nil : chunk
      }
      try await receiveMore()
    }
  }

  /// Sends a request and takes the answer.
  func ask(
    _ method: String, _ target: String, _ headers: [String] = [], body: String = ""
  ) async throws -> ClientAnswer {
    try send(method, target, headers, body: body)
    return try await answer(toHead: method == "HEAD")
  }

  /// Takes what is left: true when the server ends the connection without another byte.
  func isEnded() async throws -> Bool {
    guard received.isEmpty else { return false }
    do {
      try await receiveMore()
      return false
    } catch Failure.ended {
      return true
    }
  }

  /// Waits with the thread for a moment only: there are few, and the node's own tasks need one.
  private func receiveMore() async throws {
    let deadline = ContinuousClock.now + .seconds(60)
    var poll = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    while Glibc.poll(&poll, 1, 2) == 0 {
      guard ContinuousClock.now < deadline else { throw Failure.silence }
      try await Task.sleep(for: .milliseconds(1))
    }
    let piece = [UInt8](unsafeUninitializedCapacity: 64 << 10) { room, count in
      count = max(0, recv(descriptor, room.baseAddress, room.count, 0))
    }
    guard !piece.isEmpty else {
      throw Failure.ended(after: String(decoding: received, as: UTF8.self))
    }
    received += piece
  }
}

/// An answer as a client sees it.
struct ClientAnswer {
  let status: Int
  let fields: [(name: String, value: String)]
  var body: [UInt8] = []

  init(head: ArraySlice<UInt8>) throws {
    let lines = String(decoding: head, as: UTF8.self).split(separator: "\r\n")
    let words = lines.first?.split(separator: " ", maxSplits: 2) ?? []
    guard words.count == 3, words[0] == "HTTP/1.1", let status = Int(words[1]) else {
      throw ClientConnection.Failure.malformed(String(decoding: head, as: UTF8.self))
    }
    self.status = status
    fields = lines.dropFirst().map { line in
      let parts = line.split(separator: ":", maxSplits: 1)
      return (String(parts[0]), parts.count > 1 ? String(parts[1].dropFirst()) : "")
    }
  }

  var text: String { String(decoding: body, as: UTF8.self) }

  /// The value of the only field of that name, in lower case.
  subscript(name: String) -> String? {
    let found = fields.filter { $0.name.lowercased() == name }
    return found.count == 1 ? found[0].value : nil
  }
}

extension [UInt8] {
  fileprivate func firstRange(of part: [UInt8]) -> Range<Int>? {
    guard count >= part.count else { return nil }
    return (0...count - part.count).first { self[$0..<$0 + part.count].elementsEqual(part) }
      .map { $0..<$0 + part.count }
  }
}
