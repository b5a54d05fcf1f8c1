import Foundation

/// What is asked for.
enum RequestKind: String {
  case get, set, put

  /// One of 200 keys; values of 100 bytes.
  func request(_ number: Int) -> String {
    let key = "key\(number % 200)"
    let value = String(repeating: "x", count: 100)
    switch self {
    case .get: return "GET /get?key=\(key) HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
    case .set: return "GET /set?key=\(key)&value=\(value) HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
    case .put:
      return """
        PUT /kv/\(key) HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Length: 100\r\n\r\n\(value)
        """
    }
  }
}

/// One connection that waits for its answers.
struct LoadClient {
  private let socket: Int32

  init(port: UInt16) {
    socket = Foundation.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    let isConnected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
    guard isConnected else { fatalError("cannot connect") }
  }

  /// Writes every key first, so that all are there, and then asks.
  func run(_ kind: RequestKind, count: Int, depth: Int) {
    for number in 0..<200 { exchange(RequestKind.set.request(number), answers: 1) }
    var number = 0
    while number < count {
      let group = min(depth, count - number)
      let requests = (number..<number + group).map { kind.request($0) }.joined()
      exchange(requests, answers: group)
      number += group
    }
  }

  private func exchange(_ requests: String, answers: Int) {
    let bytes = Array(requests.utf8)
    guard write(socket, bytes, bytes.count) == bytes.count else { fatalError("cannot write") }
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    var rest: [UInt8] = []
    var seen = 0
    while seen < answers {
      let count = read(socket, &buffer, buffer.count)
      guard count > 0 else { fatalError("the node closed the connection") }
      rest += buffer[..<count]
      while let end = Self.endOfAnswer(rest) {
        guard rest.starts(with: "HTTP/1.1 20".utf8) else {
          fatalError(String(decoding: rest, as: UTF8.self))
        }
        rest.removeFirst(end)
        seen += 1
      }
    }
  }

  /// Behind the body of the first answer, if that is complete.
  private static func endOfAnswer(_ bytes: [UInt8]) -> Int? {
    let text = String(decoding: bytes, as: UTF8.self)
    guard let head = text.range(of: "\r\n\r\n"), let field = text.range(of: "Content-Length: ")
    else { return nil }
    let length = Int(text[field.upperBound...].prefix { $0.isNumber })!
    let end = text.utf8.distance(from: text.startIndex, to: head.upperBound) + length
    return end <= bytes.count ? end : nil
  }
}
