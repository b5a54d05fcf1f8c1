import Client
import Testing

@Suite("A client's error")
struct KVClientErrorTests {
  private static let node = NodeAddress(host: "127.0.0.1", port: 8080)

  @Test(
    "says what happened, where, and what to do",
    arguments: [
      (
        .neverSent(node, .connectionRefused),
        "127.0.0.1:8080: connection refused: is the node running?"
      ),
      (.neverSent(node, .unknownHost), "127.0.0.1:8080: unknown host: check the address"),
      (
        .outcomeUnknown(node, .timedOut(.answer), .GET),
        "127.0.0.1:8080: no answer in time: the node is slow or overloaded: allow more time"
      ),
      (
        .outcomeUnknown(node, .timedOut(.answer), .PUT),
        "127.0.0.1:8080: no answer in time: the PUT was sent and may have been carried out: "
          + "read the key before you try again"
      ),
      (
        .refused(node, status: 503, message: "overloaded"),
        "127.0.0.1:8080: 503 Service Unavailable: overloaded: nothing was done: try again later"
      ),
      (
        .refused(node, status: 403, message: ""),
        "127.0.0.1:8080: 403 Forbidden: this node only reads: ask the leader of the shard"
      ),
      (
        .badAddress("a", "the port is missing: write HOST:PORT"),
        "bad address \"a\": the port is missing: write HOST:PORT"
      ),
    ] as [(KVClientError, String)])
  func describesItself(error: KVClientError, text: String) {
    #expect(error.description == text)
  }

  @Test("is certain only of what was never sent")
  func knowsWhatWasSent() {
    #expect(!KVClientError.neverSent(Self.node, .connectionClosed).mayHaveBeenSent)
    #expect(!KVClientError.badRequest("").mayHaveBeenSent)
    #expect(KVClientError.outcomeUnknown(Self.node, .connectionClosed, .PUT).mayHaveBeenSent)
    #expect(KVClientError.refused(Self.node, status: 502, message: "").mayHaveBeenSent)
  }

  @Test("says whether it is certain that nothing was done")
  func knowsWhatWasDone() {
    let node = Self.node
    for status in [400, 403, 404, 412, 413, 421, 503, 507, 508] {
      #expect(KVClientError.refused(node, status: status, message: "").nothingWasDone)
    }
    for status in [500, 502, 504] {
      #expect(!KVClientError.refused(node, status: status, message: "").nothingWasDone)
    }
    let handedOn = KVClientError.refused(
      node, status: 502, message: "h:1 cannot be reached: nothing was done")
    #expect(handedOn.nothingWasDone)
    #expect(KVClientError.neverSent(node, .cancelled).nothingWasDone)
    #expect(KVClientError.noLeader(shard: "s", "").nothingWasDone)
    #expect(KVClientError.outcomeUnknown(node, .cancelled, .GET).nothingWasDone)
    #expect(!KVClientError.outcomeUnknown(node, .cancelled, .PUT).nothingWasDone)
    #expect(!KVClientError.unexpectedAnswer(node, "").nothingWasDone)
  }
}
