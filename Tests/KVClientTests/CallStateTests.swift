import KVClient
import NIOCore
import NIOHTTP1
import Testing

@Suite("A call's next step") struct CallStateTests {
  private let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
  private let node = NodeAddress(host: "h", port: 1)
  private let other = NodeAddress(host: "h", port: 2)

  private func call(
    _ use: RoutingState.Use, mayRepeat: Bool? = nil, retries: Bool = true, session: Bool = false
  ) -> CallState {
    CallState(
      deadline: start + .seconds(10), use: use, mayRepeat: mayRepeat ?? (use != .write),
      retries: retries, hasSession: session)
  }

  private func answer(
    _ status: Int, _ headers: [(String, String)] = [], body: String = ""
  ) -> KVResponse {
    KVResponse(status: status, headers: HTTPHeaders(headers), body: ByteBuffer(string: body))
  }

  private func step(
    _ call: inout CallState, _ answer: KVResponse, nodes: Int = 3
  ) -> CallState.Step {
    call.answered(answer, by: node, nodes: nodes, start, random: 1)
  }

  private func step(
    _ call: inout CallState, _ error: KVClientError, nodes: Int = 3
  ) -> CallState.Step {
    call.failed(error, at: node, nodes: nodes, start, random: 1)
  }

  @Test(
    "is the end, for an answer that says what was done",
    arguments: [200, 201, 204, 300, 304, 400, 404, 405, 412, 413, 414, 431, 504, 507])
  func finalAnswers(status: Int) {
    for use in [RoutingState.Use.write, .read(.leader), .read(.any)] {
      var call = call(use)
      #expect(step(&call, answer(status)) == .deliver)
    }
  }

  @Test("after a refusal by who does not lead is another node, at once and then with pauses")
  func notLeading() {
    for (use, status) in [(RoutingState.Use.write, 403), (.write, 421), (.read(.leader), 421)] {
      var call = call(use)
      #expect(!call.needsRoutes)
      #expect(step(&call, answer(status)) == .goOn)
      #expect(call.needsRoutes)
      #expect(step(&call, answer(status)) == .pause(.milliseconds(25)))
      #expect(step(&call, answer(status)) == .pause(.milliseconds(50)))
    }
    // That a read is refused so makes no sense.
    var read = call(.read(.leader))
    #expect(step(&read, answer(403)) == .deliver)
  }

  @Test(
    "after 503 is a pause, no longer than the node asks for; a replica's read goes on elsewhere")
  func unavailable() {
    var write = call(.write)
    var pauses: [Int64] = []
    for _ in 0..<8 {
      if case .pause(let time) = step(&write, answer(503, [("Retry-After", "1")])) {
        pauses.append(time.nanoseconds / 1_000_000)
      }
    }
    #expect(pauses == [25, 50, 100, 200, 400, 800, 1_000, 1_000])
    var none = call(.write)
    #expect(step(&none, answer(503, [("Retry-After", "0")])) == .pause(.zero))
    var read = call(.read(.replicas))
    #expect(step(&read, answer(503)) == .goOn)
    #expect(read.tried == [node])
    var alone = call(.read(.any))
    #expect(step(&alone, answer(503), nodes: 1) == .pause(.milliseconds(25)))
  }

  @Test("after 502 depends on whether something may have been done")
  func badGateway() {
    let undone = answer(502, body: #"{"error":"h:9 cannot be reached: nothing was done. x"}"#)
    let unknown = answer(502, body: #"{"error":"h:9 cannot be reached: outcome unknown. x"}"#)
    var write = call(.write)
    #expect(step(&write, undone) == .pause(.milliseconds(25)))
    #expect(step(&write, unknown) == .deliver)
    var read = call(.read(.leader))
    #expect(step(&read, unknown) == .pause(.milliseconds(25)))
    var repeated = call(.write, mayRepeat: true)
    #expect(step(&repeated, unknown) == .goOn)
    // From then on no failure says that nothing was done.
    let later = repeated.failed(
      .neverSent(other, .cancelled), at: other, nodes: 3, start, random: 0)
    #expect(
      later
        == .fail(.refused(node, status: 502, message: "h:9 cannot be reached: outcome unknown. x")))
  }

  @Test("after no answer repeats a read, and a write only if nothing was sent")
  func noAnswer() {
    let unsent = KVClientError.neverSent(node, .connectionRefused)
    let lost = KVClientError.outcomeUnknown(node, .connectionClosed, .PUT)
    let late = KVClientError.outcomeUnknown(node, .timedOut(.answer), .GET)
    var write = call(.write)
    #expect(step(&write, unsent) == .goOn)
    #expect(write.tried == [node])
    #expect(step(&write, lost) == .deliver)
    var read = call(.read(.any))
    #expect(step(&read, late) == .goOn)
    var repeated = call(.write, mayRepeat: true)
    #expect(step(&repeated, lost) == .goOn)
    #expect(
      repeated.lost(.badRequest("x"), start, random: 0) == .fail(lost))
  }

  @Test(
    "is the end where the failure is this process's own",
    arguments: [
      FailureCause.cancelled, .poolClosed, .tooManyWaiting(max: 1), .timedOut(.freeConnection),
    ])
  func ownFailures(cause: FailureCause) {
    for use in [RoutingState.Use.write, .read(.any)] {
      var call = call(use)
      #expect(step(&call, .neverSent(node, cause)) == .deliver)
    }
  }

  @Test("follows three redirections and no more, and none to nowhere")
  func redirections() {
    var moved = call(.write)
    let there = answer(307, [("Location", "http://h:2/kv/k?ttl=5")])
    for _ in 0..<3 {
      #expect(step(&moved, there) == .goOn)
      #expect(moved.redirection?.address == other && moved.redirection?.target == "/kv/k?ttl=5")
    }
    #expect(step(&moved, there) == .fail(.tooManyRedirections(node, max: 3)))
    var nowhere = call(.write)
    #expect(
      step(&nowhere, answer(307))
        == .fail(.unexpectedAnswer(node, "a redirection without a usable Location")))
    var answered = call(.write)
    _ = step(&answered, there)
    _ = step(&answered, answer(403))
    #expect(answered.redirection == nil)
  }

  @Test("turns a session's read to the leader where a replica is behind")
  func sessions() {
    for status in [412, 503] {
      var read = call(.read(.replicas), session: true)
      #expect(step(&read, answer(status)) == .goOn)
      #expect(read.use == .read(.leader))
      if status == 412 { #expect(step(&read, answer(412)) == .deliver) }
    }
    var other = call(.read(.replicas))
    #expect(step(&other, answer(412)) == .deliver)
  }

  @Test("waits while nobody leads, and ends behind its time or its attempts with the last failure")
  func bounds() {
    let nobody = KVClientError.noLeader(shard: "s", "h:1: connection refused")
    var call = call(.write)
    var now = start
    var steps = 0
    while true {
      let step = call.lost(nobody, now, random: 1)
      steps += 1
      guard case .pause(let time) = step else {
        #expect(step == .fail(nobody))
        break
      }
      now = now + time
      #expect(now < start + .seconds(10))
    }
    #expect(now > start + .seconds(8) && steps < CallState.attemptsMax)
    var quick = self.call(.read(.any))
    var count = 1
    while step(&quick, KVClientError.neverSent(node, .connectionRefused))
      != .fail(
        .neverSent(node, .connectionRefused))
    { count += 1 }
    #expect(count == CallState.attemptsMax)
    var late = self.call(.read(.any))
    #expect(
      late.failed(
        .outcomeUnknown(node, .timedOut(.answer), .GET), at: node, nodes: 3,
        start + .seconds(11), random: 0)
        == .fail(.outcomeUnknown(node, .timedOut(.answer), .GET)))
  }

  @Test("without retries goes on only where an answer says that another node is to be asked")
  func withoutRetries() {
    var call = call(.write, retries: false)
    #expect(step(&call, answer(403)) == .goOn)
    #expect(step(&call, answer(307, [("Location", "http://h:2/kv/k")])) == .goOn)
    #expect(step(&call, answer(503)) == .deliver)
    #expect(step(&call, .neverSent(node, .connectionRefused)) == .deliver)
    let nobody = KVClientError.noLeader(shard: "s", "")
    #expect(call.lost(nobody, start, random: 0) == .fail(nobody))
  }

  @Test("leaves a read that can be made elsewhere half of the time, and a write all of it")
  func attemptDeadlines() {
    let read = call(.read(.leader))
    #expect(read.attemptDeadline(start, nodes: 3) == start + .seconds(5))
    #expect(read.attemptDeadline(start, nodes: 1) == start + .seconds(10))
    let end = start + .milliseconds(9_900)
    #expect(read.attemptDeadline(end, nodes: 3) == start + .seconds(10))
    #expect(call(.write).attemptDeadline(start, nodes: 3) == start + .seconds(10))
  }
}

@Suite("A session") struct KVSessionTests {
  @Test("keeps of each shard the newest: a later epoch counts more than a number")
  func newest() {
    let session = KVSession()
    #expect(session.minimum(shard: 0, of: 2) == nil)
    session.note("\"7.1-00000000000000aa\"", shard: 0, of: 2)
    session.note("\"5.1-00000000000000aa\"", shard: 0, of: 2)
    #expect(session.minimum(shard: 0, of: 2) == "7.1-00000000000000aa")
    session.note("\"6.2-00000000000000bb\"", shard: 0, of: 2)
    session.note("\"9.1-00000000000000aa\"", shard: 0, of: 2)
    #expect(session.minimum(shard: 0, of: 2) == "6.2-00000000000000bb")
    #expect(session.minimum(shard: 1, of: 2) == nil)
    for text in ["", "\"\"", "W/\"1\"", "7", "a.b-c", "1.2", "1.2-xyz"] {
      session.note(text, shard: 0, of: 2)
    }
    #expect(session.minimum(shard: 0, of: 2) == "6.2-00000000000000bb")
  }

  @Test("takes a number alone for one of the epoch that it has seen last")
  func numbers() {
    let session = KVSession()
    session.note(version: 4, shard: 0, of: 1)
    #expect(session.minimum(shard: 0, of: 1) == "4")
    session.note("\"6.2-aa\"", shard: 0, of: 1)
    session.note(version: 5, shard: 0, of: 1)
    #expect(session.minimum(shard: 0, of: 1) == "6.2-aa")
    session.note(version: 7, shard: 0, of: 1)
    #expect(session.minimum(shard: 0, of: 1) == "7")
  }

  @Test("goes on in the children of a shard that is divided, and forgets another store's")
  func divided() {
    let session = KVSession()
    session.note("\"3.1-0a\"", shard: 1, of: 2)
    #expect((0..<4).map { session.minimum(shard: $0, of: 4) } == [nil, "3.1-0a", nil, "3.1-0a"])
    #expect((0..<3).map { session.minimum(shard: $0, of: 3) } == [nil, nil, nil])
  }
}

@Suite("Pages of several shards") struct MergedPageTests {
  private func page(_ keys: [String], next: String? = nil) -> KVPage {
    KVPage(
      keys: keys.map { .init(key: Array($0.utf8), version: 1, size: 2) },
      next: next.map { Array($0.utf8) })
  }

  @Test("are in order, and end where the first of them ends that goes on")
  func merges() {
    #expect(
      KVClient.merged([page(["b", "d"]), page(["a", "c"])], limit: 10)
        == page(["a", "b", "c", "d"]))
    #expect(
      KVClient.merged([page(["b", "d"], next: "d"), page(["a", "e", "f"])], limit: 10)
        == page(["a", "b", "d"], next: "d"))
    #expect(
      KVClient.merged([page(["b", "d"]), page(["a", "c"])], limit: 3)
        == page(["a", "b", "c"], next: "c"))
    #expect(KVClient.merged([page([]), page([], next: "k")], limit: 3) == page([], next: "k"))
    #expect(KVClient.merged([], limit: 3) == page([]))
  }

  @Test("lose no key and repeat none, whatever their sizes")
  func complete() {
    let shards = (0..<3).map { shard in (0..<40).map { "\($0 * 7 % 40)-\(shard)" }.sorted() }
    for limit in [1, 2, 7, 50, 200] {
      var (seen, after) = ([String](), "")
      while true {
        let pages = shards.enumerated().map { index, keys in
          let rest = keys.filter { $0 > after }
          // A page may end before its limit.
          let cut = Array(rest.prefix(min(limit, 3 + index)))
          return page(cut, next: cut.count < rest.count ? cut.last : nil)
        }
        let merged = KVClient.merged(pages, limit: limit)
        #expect(merged.keys.count <= limit)
        seen += merged.keys.map { String(decoding: $0.key, as: UTF8.self) }
        guard let next = merged.next else { break }
        after = String(decoding: next, as: UTF8.self)
      }
      #expect(seen == shards.flatMap { $0 }.sorted())
    }
  }
}
