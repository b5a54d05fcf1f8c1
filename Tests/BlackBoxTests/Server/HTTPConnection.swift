import Foundation

/// What can happen to a client.
enum ConnectionError: Error, Equatable {
  case refused
  /// The other side closed it, in order or not, before the answer was whole.
  case closed
  case timedOut
  case malformed(String)
}

/// A blocking connection, on one thread, that sees exactly what is sent and received.
final class HTTPConnection {
  let descriptor: Int32
  private var received: [UInt8] = []

  /// - Parameter receiveBufferBytes: what the system takes for a client that does not read.
  init(
    to address: LoopbackAddress, timeoutSeconds: Int = 20, receiveBufferBytes: Int32? = nil
  ) throws {
    // Not for the processes that are started meanwhile.
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
    var timeout = timeval(tv_sec: timeoutSeconds, tv_usec: 0)
    let size = socklen_t(MemoryLayout<timeval>.size)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, size)
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, size)
    var one: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(4))
    if var bytes = receiveBufferBytes {
      setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, socklen_t(4))
    }
    var target = address.socketAddress
    let result = withUnsafePointer(to: &target) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard result == 0 else { throw ConnectionError.refused }
  }

  deinit { close(descriptor) }

  // MARK: - Bytes

  func send(_ bytes: [UInt8]) throws {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes {
        Foundation.send(
          descriptor, $0.baseAddress! + done, $0.count - done, Int32(MSG_NOSIGNAL))
      }
      if count > 0 {
        done += count
      } else if errno == EAGAIN {
        throw ConnectionError.timedOut
      } else if errno != EINTR {
        throw ConnectionError.closed
      }
    }
  }

  /// Waits for more.
  private func receiveMore() throws {
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = recv(descriptor, &chunk, chunk.count, 0)
      if count > 0 {
        received += chunk[..<count]
        return
      }
      if count < 0, errno == EINTR { continue }
      throw count < 0 && errno == EAGAIN ? ConnectionError.timedOut : .closed
    }
  }

  /// Waits for the other side to close, whatever it says before that.
  func receiveEnd() throws {
    do {
      while true { try receiveMore() }
    } catch ConnectionError.closed {}
  }

  /// Whether the other side has closed it; looks only, and takes nothing.
  var hasEnded: Bool {
    var byte: UInt8 = 0
    let count = recv(descriptor, &byte, 1, Int32(MSG_PEEK | MSG_DONTWAIT))
    return count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)
  }

  // MARK: - Requests

  func send(_ request: HTTPRequest) throws { try send(request.bytes) }

  /// The next answer to a request that is no HEAD.
  func receive() throws -> HTTPAnswer {
    let end: [UInt8] = Array("\r\n\r\n".utf8)
    while true {
      if let range = received.firstRange(of: end) {
        let head = String(decoding: received[..<range.lowerBound], as: UTF8.self)
        let length = try HTTPAnswer.bodyBytes(head: head)
        let bodyEnd = range.upperBound + length
        while received.count < bodyEnd { try receiveMore() }
        let body = Array(received[range.upperBound..<bodyEnd])
        received.removeFirst(bodyEnd)
        return try HTTPAnswer(head: head, body: body)
      }
      try receiveMore()
    }
  }

  /// The next chunk of an answer whose head has been received; nil at its end.
  func receiveChunk() throws -> [UInt8]? {
    while true {
      if let line = received.firstRange(of: Array("\r\n".utf8)) {
        let text = String(decoding: received[..<line.lowerBound], as: UTF8.self)
        guard let count = Int(text, radix: 16) else { throw ConnectionError.malformed(text) }
        let end = line.upperBound + count
        while received.count < end + 2 { try receiveMore() }
        let chunk = Array(received[line.upperBound..<end])
        received.removeFirst(end + 2)
        return count == 0 ? nil : chunk
      }
      try receiveMore()
    }
  }

  func exchange(_ request: HTTPRequest) throws -> HTTPAnswer {
    try send(request)
    return try receive()
  }

  func get(_ key: String) throws -> HTTPAnswer { try exchange(.get(key)) }
  func put(_ key: String, _ value: String) throws -> HTTPAnswer { try exchange(.put(key, value)) }
}

struct HTTPAnswer {
  var status: Int
  var head: String
  var body: [UInt8]

  var text: String { String(decoding: body, as: UTF8.self) }

  init(head: String, body: [UInt8]) throws {
    let words = head.split(separator: " ", maxSplits: 2)
    guard words.count >= 2, let status = Int(words[1]) else {
      throw ConnectionError.malformed(head)
    }
    self.status = status
    self.head = head
    self.body = body
  }

  /// The fields, by their names in lower case; of several of a name the last.
  var headers: [String: String] {
    var fields: [String: String] = [:]
    for line in head.split(separator: "\r\n").dropFirst() {
      guard let colon = line.firstIndex(of: ":") else { continue }
      fields[line[..<colon].lowercased()] =
        line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
    }
    return fields
  }

  static func bodyBytes(head: String) throws -> Int {
    for line in head.split(separator: "\r\n") where line.lowercased().hasPrefix("content-length:") {
      guard let length = Int(line.dropFirst(15).trimmingCharacters(in: .whitespaces)) else { break }
      return length
    }
    // 204 has none.
    return 0
  }

  /// The members of a JSON object.
  func members() throws -> [String: Any] {
    guard let object = try JSONSerialization.jsonObject(with: Data(body)) as? [String: Any] else {
      throw ConnectionError.malformed(text)
    }
    return object
  }
}
