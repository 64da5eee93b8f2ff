// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {System, MEMBERS, GOVERNANCE} from "./System.sol";

/// Named AI services: how many approvals a change needs, which model is current, and roots of the receipts of its answers.
contract Services is System {
    struct Service {
        uint8 approvals;
        uint32 timeLock;
        uint64 since;
        bytes32 model;
        bytes32 proposal;
    }

    uint256 public constant TIME_LOCK_S_MAX = 365 days;

    event Defined(bytes32 indexed service, address indexed org, bytes32 name);
    event Pointed(bytes32 indexed service, bytes32 indexed model, bytes32 indexed proposal);
    event ReceiptsAnchored(bytes32 indexed service, bytes32 indexed model, address indexed org, bytes32 root, uint64 count);

    mapping(bytes32 service => Service) private _services;
    mapping(bytes32 name => bytes32 service) public serviceOf;
    mapping(bytes32 service => mapping(bytes32 model => bool)) public hasPointedAt;

    function defineService(bytes32 service_name, uint8 approvals, uint32 time_lock_s, bytes calldata payload, bytes calldata signature)
        external
        direct
    {
        require(service_name != 0 && serviceOf[service_name] == 0, "a service of this name exists");
        require(approvals > 0 && approvals <= MEMBERS.count(), "approvals lie between 1 and the number of members");
        require(time_lock_s <= TIME_LOCK_S_MAX, "a time lock is at most a year");
        bytes32 service = _place("service", payload, signature);
        serviceOf[service_name] = service;
        _services[service].approvals = approvals;
        _services[service].timeLock = time_lock_s;
        emit Defined(service, msg.sender, service_name);
    }

    function point(bytes32 service, bytes32 model, bytes32 proposal) external {
        require(msg.sender == GOVERNANCE, "only a passed vote points a service");
        Service storage it = _services[service];
        (it.model, it.proposal, it.since) = (model, proposal, uint64(block.timestamp));
        hasPointedAt[service][model] = true;
        emit Pointed(service, model, proposal);
    }

    /// The Merkle root of `count` prediction receipts given by the caller's nodes under one model.
    function receipts(bytes32 service, bytes32 model, bytes32 root, uint64 count, bytes calldata payload, bytes calldata signature)
        external
        direct
    {
        require(hasPointedAt[service][model], "the service never pointed at this model");
        require(count > 0, "a batch holds at least one receipt");
        _place("receipt", payload, signature);
        emit ReceiptsAnchored(service, model, msg.sender, root, count);
    }

    function current(bytes32 service) external view returns (bytes32 model, bytes32 proposal, uint64 since) {
        Service storage it = _services[service];
        return (it.model, it.proposal, it.since);
    }

    function rules(bytes32 service) external view returns (uint8 approvals, uint32 time_lock_s) {
        return (_services[service].approvals, _services[service].timeLock);
    }
}
