import Client
import NIOCore

/// Requests of a connection in the fast lane that other nodes answer.
extension FastLane {
  /// Whether the node that has handed a request on divides the keys as this one does.
  func isDividedAlike(_ text: Slice<UnsafeRawBufferPointer>) -> Bool {
    text.elementsEqual(loop.shardsText)
  }

  /// Hands a request for another shard on.
  func passOn(
    _ request: FastRequest, _ bytes: UnsafeRawBufferPointer, _ shard: Int
  ) -> Step {
    // The standard pipeline does what is rare.
    guard loop.node.configuration.routing == .proxy, request.keepsAlive, !loop.isDraining,
      request.hops < Forwarder.hopsMax, request.fields < FastRequest.headerFieldsMax - 3,
      request.headEnd < FastRequest.headBytesMax - loop.relayedFieldsMax
    else { return .unusual }
    let isRead = request.route.isRead
    // The node that answers asks others, or refuses it: not on a connection that it shares.
    guard isRead ? loop.readsAlone : value(of: request, bytes) != nil else { return .unusual }
    guard isSettledHere, relayed.open < loop.limits.relayedRequestsMax else { return .held }
    if relayed.open > 0 {
      // The next one may not overtake a write, and none of them another's.
      guard isRead == (relay == nil), relay?.isRetired != true else { return .held }
    }
    let kind = Relays.Kind(
      purpose: isRead ? .read : request.members == 0 ? .write : .quorumWrite, hops: request.hops)
    if let relay, relayed.open > 0, !relay.takes(kind, shard, of: loop) { return .held }
    let errand = RelayedRequest(
      lane: self, number: relayed.next, route: request.route, kind: kind, isHead: request.isHead,
      isForLeader: isRead && (request.isForLeader || loop.readsFromLeader), shard: shard,
      start: now)
    let whole = UnsafeRawBufferPointer(rebasing: bytes[..<request.end])
    guard
      let link = loop.relays.send(
        errand, whole, headBytes: request.headEnd, by: relayed.open > 0 ? relay : nil)
    else {
      guard isSettled else { return .held }
      let refusal = loop.overloaded(request.route)
      answer(refusal, keepsAlive: true, isHead: request.isHead)
      loop.requestMetrics.answered(request.route, refusal.status, since: now)
      return .done(bytes: request.end)
    }
    relayed.add()
    relay = isRead ? nil : link
    return .done(bytes: request.end)
  }

  /// Another node has answered.
  ///
  /// - Parameters:
  ///   - bytes: the answer, of which `head` is the head.
  ///   - charge: what it counts for in the node's bound, which this lane releases.
  func answered(
    _ request: RelayedRequest, _ head: RelayedHead, _ bytes: UnsafeRawBufferPointer, charge: Int
  ) {
    let status = Status(code: head.status, reason: "")
    loop.requestMetrics.answered(request.route, status, since: request.start)
    guard isOpen else { return loop.node.releaseAnswer(charge) }
    take(request.number, charge: charge) { output in
      head.write(bytes, into: &output)
      output.writeBytes(loop.forwardedBy)
      if isClosing { output.writeStaticString("Connection: close\r\n") }
      output.writeStaticString("\r\n")
      output.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[head.headBytes...]))
    }
  }

  /// No node has, or what it did is not known.
  func relayFailed(_ request: RelayedRequest, _ node: NodeAddress, _ error: KVClientError) {
    refuse(request, loop.unreachable(node, error, isRead: request.isRead))
  }

  /// Answers a request in the other node's place; the body is the loop's.
  func refuse(_ request: RelayedRequest, _ answer: Answer) {
    loop.requestMetrics.answered(request.route, answer.status, since: request.start)
    guard isOpen else { return loop.body.clear() }
    take(request.number) { output in
      var answer = answer
      answer.closes = isClosing
      loop.encoder.writeHead(answer, bodyBytes: loop.body.readableBytes, into: &output)
      if !request.isHead { output.writeImmutableBuffer(loop.body) }
    }
    loop.body.clear()
  }

  /// Gives the connection to the standard pipeline, which answers that request.
  ///
  /// - Parameter bytes: the request, as it came; there is none behind it that was looked at.
  func standAside(_ request: RelayedRequest, _ bytes: ByteBuffer) {
    take(request.number) { _ in }
    if isOpen { leave(before: bytes) }
  }

  /// Whether nothing else of this lane is with other nodes.
  func isAlone(_ request: RelayedRequest) -> Bool { relayed.isAlone(request.number) }

  private func take(_ number: UInt64, charge: Int = 0, _ write: (inout ByteBuffer) -> Void) {
    // The last of those that are in progress says so: nothing may follow it.
    if loop.isDraining, relayed.isAlone(number) { isClosing = true }
    relayed.take(number, charge: charge, into: &output, write)
  }

  /// The client is gone.
  func dropRelayed() {
    loop.node.releaseAnswer(relayed.drop())
    relay = nil
  }

  /// What happens once the client has taken what counts in the node's bound; nil where nothing does.
  func releaseOfCharge() -> EventLoopPromise<Void>? {
    let charge = relayed.beginSending { charge in
      .now() + .seconds(Int64(loop.limits.answerSeconds + charge / (64 << 10)))
    }
    guard charge > 0 else { return nil }
    let promise = loop.eventLoop.makePromise(of: Void.self)
    promise.futureResult.assumeIsolated().whenComplete { _ in
      self.loop.node.releaseAnswer(charge)
      self.relayed.endSending()
      if self.isOpen { self.setDeadline() }
    }
    return promise
  }
}
