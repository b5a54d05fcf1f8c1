/// A client that follows `/watch`, line by line.
final class WatchClient {
  let connection: ClientConnection
  let head: ClientAnswer
  private var rest: [UInt8] = []

  /// Sends the request and takes the answer's head; where the answer is a refusal, all of it.
  init(_ node: RunningNode, _ query: String) async throws {
    connection = try node.connect()
    try connection.send("GET", "/watch" + query)
    var head = try await connection.head()
    if head.status != 200 {
      head.body = try await connection.bytes(Int(head["content-length"] ?? "0") ?? 0)
    }
    self.head = head
  }

  /// The next line that is not empty; nil at the end of the answer.
  func line() async throws -> String? {
    while true {
      if let end = rest.firstIndex(of: 10) {
        let line = String(decoding: rest[..<end], as: UTF8.self)
        rest.removeSubrange(...end)
        if !line.isEmpty { return line }
      } else if let chunk = try await connection.chunk() {
        rest += chunk
      } else {
        guard rest.isEmpty else { throw ClientConnection.Failure.ended(after: "half a line") }
        return nil
      }
    }
  }

  func lines(_ count: Int) async throws -> [String] {
    var lines: [String] = []
    while lines.count < count, let line = try await line() { lines.append(line) }
    return lines
  }

  /// All lines until the answer ends.
  func linesToEnd() async throws -> [String] {
    var lines: [String] = []
    while let line = try await line() { lines.append(line) }
    return lines
  }
}
