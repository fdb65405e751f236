var e=["PERSON_DETECTED","MULTIPLE_PERSONS","DOOR_OPENED","DOOR_CLOSED","SYSTEM_ALERT"],n=["camera","ai-engine","lock-agent","sensor","controller"];export{e as a,n as b};
