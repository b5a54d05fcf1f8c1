import Engine
import NIOCore
import NIOPosix

/// `GET /kv?prefix=&after=&until=&limit=`: keys in ascending order, a page at a time.
extension LoopState {
  func page(_ query: Parameters, _ lane: StandardLane) -> Handling {
    lane.isFor(.page)
    if shardCount > 1, let cluster = node.cluster, query.text("scope") == "cluster" {
      do throws(StandardRequest.Refusal) {
        return clusterPage(try PageRequest(query, limits: limits), cluster, query, lane)
      } catch {
        writeError(error.reason)
        return .now(Answer(error.status, .json))
      }
    }
    return reading(query, lane) { self.makePage(query, lane) }
  }

  private func makePage(_ query: Parameters, _ lane: StandardLane) -> Handling {
    let request: PageRequest
    do throws(StandardRequest.Refusal) {
      request = try PageRequest(query, limits: limits)
    } catch {
      writeError(error.reason)
      return .now(Answer(error.status, .json))
    }
    // Nobody is told any more about those who have left.
    if pages.count >= PageQueue.requestsMax { forgetLeft() }
    guard pages.count < PageQueue.requestsMax else {
      return .now(noPage("overloaded: too many pages are being made"))
    }
    guard isReadyToList() else {
      guard pages.isListening, !isDraining else {
        return .now(
          noPage("the keys cannot be listed: the node is stopping, or has no thread left"))
      }
      wait(request, lane, milliseconds: timeoutMilliseconds(query))
      return .later
    }
    make(request, lane)
    return .later
  }

  private func isReadyToList() -> Bool {
    // It calls everybody whom it has told to wait: one call is enough for a loop.
    if pages.isListening { return false }
    let readiness = store.index.prepareListing { [weak self] in
      guard let self else { return }
      eventLoop.execute { self.listingPrepared() }
    }
    pages.isListening = readiness == .building
    return readiness == .ready
  }

  private func noPage(_ reason: String) -> Answer {
    writeError(reason)
    var answer = Answer(.unavailable, .json)
    answer.retryAfterSeconds = 1
    return answer
  }

  // MARK: - Waiting for the directory

  private func wait(_ request: PageRequest, _ lane: StandardLane, milliseconds: UInt64) {
    let waiter = PageQueue.Waiter(request, lane)
    pages.waiting.append(waiter)
    waiter.timeout = eventLoop.assumeIsolated().scheduleTask(
      in: .milliseconds(Int64(milliseconds))
    ) {
      self.pages.waiting.removeAll { $0 === waiter }
      lane.deliver(.now(self.noPage("the keys are being put in order: ask again")))
    }
  }

  func forgetLeft() {
    for waiter in pages.waiting where !waiter.lane.isOpen { waiter.timeout?.cancel() }
    pages.waiting.removeAll { !$0.lane.isOpen }
  }

  private func listingPrepared() {
    pages.isListening = false
    let waiting = pages.waiting
    pages.waiting = []
    for waiter in waiting {
      waiter.timeout?.cancel()
      guard waiter.lane.isOpen else { continue }
      if isReadyToList() {
        make(waiter.request, waiter.lane)
      } else {
        waiter.lane.deliver(.now(noPage("the keys cannot be listed: the node is stopping")))
      }
    }
  }

  /// Those who wait would keep the node from stopping.
  func drainPages() {
    let waiting = pages.waiting
    pages.waiting = []
    for waiter in waiting {
      waiter.timeout?.cancel()
      waiter.lane.deliver(.now(noPage("the node is stopping")))
    }
  }

  // MARK: - Making

  /// Makes the page off the loop: it takes a millisecond for a thousand keys or so.
  private func make(_ request: PageRequest, _ lane: StandardLane) {
    pages.making += 1
    let store = store
    let made = NIOSingletons.posixBlockingThreadPool.runIfActive(eventLoop: eventLoop) {
      Page(request, of: store.index, now: store.nowMilliseconds)
    }
    made.assumeIsolated().whenComplete { result in
      self.pages.making -= 1
      switch result {
      case .success(let page):
        self.body = page.body
        self.basis = page.basis
        lane.deliver(self.confirmed(.page(Answer(.ok, .ndjson), next: page.next), lane))
      case .failure(let error):
        self.writeError("\(error)")
        lane.deliver(.now(Answer(.internalError, .json)))
      }
    }
  }
}
