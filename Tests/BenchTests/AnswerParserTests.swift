import Bench
import Client
import Testing

struct AnswerParserTests {
  /// Offers the bytes in parts as a connection does, with what was left of the part before.
  private func read(_ text: String, cutAt cuts: [Int]) -> [AnswerParser.Answer]? {
    let bytes = Array(text.utf8)
    var parser = AnswerParser()
    var answers: [AnswerParser.Answer] = []
    var rest: [UInt8] = []
    var start = 0
    for cut in cuts + [bytes.count] {
      let part = rest + bytes[start..<cut]
      start = cut
      rest = []
      let isRight = part.withUnsafeBytes { raw in
        var position = 0
        while position < raw.count {
          switch parser.next(raw, &position) {
          case .needsMore:
            rest = Array(raw[position...])
            return true
          case .malformed: return false
          case .answer(let answer): answers.append(answer)
          }
        }
        return true
      }
      guard isRight else { return nil }
    }
    return answers
  }

  private func answer(
    _ status: Int, version: UInt64 = 0, epoch: UInt64 = 0, context: String = "",
    closes: Bool = false
  ) -> AnswerParser.Answer {
    var answer = AnswerParser.Answer()
    answer.context = KVContext(context)!
    (answer.status, answer.version, answer.epoch, answer.closes) = (status, version, epoch, closes)
    return answer
  }

  private static let context = "00000000000000aa:7,ffffffffffffffff:18446744073709551615"
  private static let stream =
    "HTTP/1.1 200 OK\r\nContent-Length: 11\r\nContent-Type: text/plain\r\nX-KV-Version: 42\r\n"
    + "ETag: \"42.3-00000000000000aa\"\r\n\r\nhello\r\n\r\nHT"
    + "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nx-kv-version:7\r\n\r\n"
    + "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n"
    + "5;name=value\r\nhello\r\nA\r\n0123\r\n6789\r\n0\r\nTrailer: x\r\n\r\n"
    + "HTTP/1.1 300 Multiple Choices\r\nX-KV-Context: \(context)\r\nContent-Length: 2\r\n\r\n{}"
    + "HTTP/1.1 503 Too Busy\r\nCONTENT-LENGTH:0\r\nConnection: Close\r\nETag: W/\"abc\"\r\n\r\n"

  private var expected: [AnswerParser.Answer] {
    [
      answer(200, version: 42, epoch: 3), answer(204, version: 7), answer(404),
      answer(300, context: Self.context),
      answer(503, closes: true),
    ]
  }

  @Test("Answers are the same wherever the bytes are cut")
  func everyCut() {
    let count = Self.stream.utf8.count
    #expect(read(Self.stream, cutAt: []) == expected)
    for cut in 0...count { #expect(read(Self.stream, cutAt: [cut]) == expected) }
    #expect(read(Self.stream, cutAt: Array(0..<count)) == expected)
  }

  @Test("A body without a length ends with the connection")
  func untilClose() {
    var parser = AnswerParser()
    let bytes = Array("HTTP/1.0 200 OK\r\n\r\nsome body".utf8)
    bytes.withUnsafeBytes { raw in
      var position = 0
      #expect(parser.next(raw, &position) == .needsMore)
      #expect(position == raw.count)
    }
    #expect(parser.end() == answer(200, closes: true))
    #expect(parser.end() == nil)
  }

  @Test(
    "What is no answer is malformed",
    arguments: [
      "HTP/1.1 200 OK\r\n\r\n", "HTTP/2 200 OK\r\n\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
      "HTTP/1.1 200 OK\r\nX-KV-Version: new\r\n\r\n",
      "HTTP/1.1 200 OK\r\nX-KV-Context: new\r\n\r\n",
      String(repeating: "x", count: AnswerParser.headBytesMax + 2),
    ])
  func malformed(text: String) {
    #expect(read(text, cutAt: []) == nil)
  }

  @Test("Random bytes are answers or not, and nothing is read twice")
  func randomBytes() {
    var random = RandomSource(seed: 11)
    let stream = Array(Self.stream.utf8)
    for _ in 0..<20_000 {
      var bytes = stream
      for _ in 0..<1 + random.below(4) {
        bytes[Int(random.below(UInt64(bytes.count)))] = UInt8(random.below(256))
      }
      var parser = AnswerParser()
      bytes.withUnsafeBytes { raw in
        var position = 0
        var last = 0
        while position < raw.count {
          let step = parser.next(raw, &position)
          guard case .answer = step else { break }
          #expect(position > last && position <= raw.count)
          last = position
        }
      }
    }
  }
}
